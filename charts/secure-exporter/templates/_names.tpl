{{/*
Name of every object of the chart. Not the release's name alone: a SecureExporter `n` has a Service and a ServiceAccount
`n`, and people name it like the release.
*/}}
{{- define "secure-exporter.fullname" -}}
{{- $suffix := default "operator" .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if hasSuffix (printf "-%s" $suffix) .Release.Name -}}
{{- .Release.Name -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $suffix | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The namespace of every object of the chart that has one. */}}
{{- define "secure-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* Names of cluster-scoped objects contain the namespace, so that two releases never conflict. */}}
{{- define "secure-exporter.clusterName" -}}
{{- printf "%s:%s" (include "secure-exporter.namespace" .) (include "secure-exporter.fullname" .) -}}
{{- end -}}

{{- define "secure-exporter.serviceAccountName" -}}
{{- $account := .Values.serviceAccount -}}
{{- if not (or $account.create $account.name) -}}
{{- fail "serviceAccount.create is false, so serviceAccount.name must name a ServiceAccount that exists. (The namespace's default account would give the operator's permissions to every pod without an account of its own.)" -}}
{{- end -}}
{{- default (include "secure-exporter.fullname" .) $account.name -}}
{{- end -}}

{{/* `app.kubernetes.io/name` differs from that of the exporters, so that no selector matches both. */}}
{{- define "secure-exporter.selectorLabels" -}}
{{- if eq .Values.nameOverride "secure-exporter" -}}
{{- fail "nameOverride must not be secure-exporter, because the exporters have this label: the operator's Service could select their pods. For example, use secure-exporter-operator" -}}
{{- end -}}
app.kubernetes.io/name: {{ default "secure-exporter-operator" .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "secure-exporter.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{ include "secure-exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: secure-exporter
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The labels of an object. */}}
{{- define "secure-exporter.labels" -}}
{{- include "secure-exporter.labelsWith" (list . dict) -}}
{{- end -}}

{{/* The same for an object with labels of its own. Call with (list . .Values.x.labels). */}}
{{- define "secure-exporter.labelsWith" -}}
{{- $root := index . 0 -}}
{{- mustMergeOverwrite (deepCopy $root.Values.commonLabels) (index . 1) (include "secure-exporter.ownLabels" $root | fromYaml) | toYaml -}}
{{- end -}}

{{/*
A full image reference. Call with (list . .Values.x.image). As in the references themselves, the part before the first slash is
a registry if it contains a dot or a colon, or is localhost.
*/}}
{{- define "secure-exporter.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $repository := $image.repository -}}
{{- with $root.Values.global.imageRegistry -}}
{{- $repository = regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $repository "" | printf "%s/%s" (trimSuffix "/" .) -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The pull secrets of the operator's pod, as in a pod spec. An entry is a name, or an object with a name. */}}
{{- define "secure-exporter.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (default list .Values.global.imagePullSecrets) .Values.imagePullSecrets -}}
{{- if kindIs "string" . -}}
{{- $secrets = append $secrets (dict "name" .) -}}
{{- else -}}
{{- $secrets = append $secrets (dict "name" .name) -}}
{{- end -}}
{{- end -}}
{{- $secrets | uniq | toYaml -}}
{{- end -}}

{{/*
The security context of the operator's pod. OpenShift assigns a user and a group from the namespace's range, and its SCC
`restricted` refuses other ones. One that was chosen on purpose is kept.
*/}}
{{- define "secure-exporter.podSecurityContext" -}}
{{- $context := deepCopy .Values.podSecurityContext -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- range $id := list "runAsUser" "runAsGroup" -}}
{{- if eq (get $context $id | int) 29101 -}}
{{- $_ := unset $context $id -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/*
The watched namespaces that do not exist, separated by commas: a Role there would make the whole release fail. Where Helm does
not ask the cluster (`helm template`), none: `kube-system` always exists.
*/}}
{{- define "secure-exporter.missingNamespaces" -}}
{{- $missing := list -}}
{{- $others := without .Values.watchNamespaces (include "secure-exporter.namespace" .) "*" -}}
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

{{/* The namespaces to watch: `*`, or a list separated by commas that always contains the operator's namespace. */}}
{{- define "secure-exporter.watchNamespaces" -}}
{{- if has "*" .Values.watchNamespaces -}}
*
{{- else -}}
{{- join "," (prepend .Values.watchNamespaces (include "secure-exporter.namespace" .) | uniq) -}}
{{- end -}}
{{- end -}}
