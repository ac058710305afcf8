{{/*
Name of every object of the chart. Not the release's name alone: a SecureExporter `n` has a Service and a ServiceAccount
`n`, and people name it like the release.
*/}}
{{- define "secure-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if hasSuffix "-operator" .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-operator" .Release.Name -}}
{{- end -}}
{{- end -}}

{{/* Names of cluster-scoped objects contain the namespace, so that two releases never conflict. */}}
{{- define "secure-exporter.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "secure-exporter.fullname" .) -}}
{{- end -}}

{{/* `app.kubernetes.io/name` differs from that of the exporters, so that no selector matches both. */}}
{{- define "secure-exporter.selectorLabels" -}}
app.kubernetes.io/name: secure-exporter-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "secure-exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{ include "secure-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: secure-exporter
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* A full image reference. Call with (list . .Values.x.image). */}}
{{- define "secure-exporter.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
The watched namespaces that do not exist, separated by commas: a Role there would make the whole release fail. Where Helm does
not ask the cluster (`helm template`), none: `kube-system` always exists.
*/}}
{{- define "secure-exporter.missingNamespaces" -}}
{{- $missing := list -}}
{{- $others := without .Values.watchNamespaces .Release.Namespace "*" -}}
{{- if and $others (lookup "v1" "Namespace" "" "kube-system") -}}
{{- range $others -}}
{{- $found := lookup "v1" "Namespace" "" . -}}
{{- if or (not $found) (eq (dig "status" "phase" "" $found) "Terminating") -}}
{{- $missing = append $missing . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "," $missing -}}
{{- end -}}

{{/* The namespaces to watch: `*`, or a list separated by commas that always contains the release's namespace. */}}
{{- define "secure-exporter.watchNamespaces" -}}
{{- if has "*" .Values.watchNamespaces -}}
*
{{- else -}}
{{- join "," (prepend .Values.watchNamespaces .Release.Namespace | uniq) -}}
{{- end -}}
{{- end -}}
