{{/*
Fails if an additional argument is a flag that the chart sets: the operator would refuse to start, or would do something else
than what the value says. Call with (list . $argument).
*/}}
{{- define "secure-exporter.checkArgument" -}}
{{- $flag := index . 1 | splitList "=" | first | trimPrefix "--" -}}
{{- $values := dict
  "allowed-images" "allowedImages"
  "allowed-pod-annotation-prefixes" "allowedPodAnnotationPrefixes"
  "allowed-pod-label-prefixes" "allowedPodLabelPrefixes"
  "allowed-priority-classes" "allowedPriorityClasses"
  "concurrency" "concurrency"
  "exporter-image" "exporter.image"
  "listen-address" "operator.port"
  "log-format" "operator.log.format"
  "log-level" "operator.log.level"
  "max-exporter-resources" "maxExporterResources"
  "release" ""
  "require-reference-label" "requireReferenceLabel"
  "watch-namespaces" "watchNamespaces"
-}}
{{- range $name, $_ := (index . 0).Values.rotation -}}
{{- $_ := set $values (kebabcase $name) (printf "rotation.%s" $name) -}}
{{- end -}}
{{- if hasKey $values $flag -}}
{{- $instead := get $values $flag -}}
{{- fail (printf "extraArgs must not contain --%s, because the chart sets it%s" $flag (empty $instead | ternary "" (printf ": use the value %s" $instead))) -}}
{{- end -}}
{{- end -}}
