{{- define "cmk-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, and the chart's unless the release is named after it. */}}
{{- define "cmk-operator.fullname" -}}
{{- $name := include "cmk-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "cmk-operator.selector" -}}
app.kubernetes.io/name: {{ include "cmk-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cmk-operator.labels" -}}
{{ include "cmk-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cmk-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "cmk-operator.fullname" .) }}
{{- end }}

{{- define "cmk-operator.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who the rights are for. */}}
{{- define "cmk-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "cmk-operator.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* What the operator does in every namespace that it works in. */}}
{{- define "cmk-operator.rules" -}}
- apiGroups: [cmk-operator.io]
  resources: [customerkeys, encryptedclusters]
  # patch: the finalizer. A watch that begins with what is there takes the place of a list.
  verbs: [get, watch, patch]
- apiGroups: [cmk-operator.io]
  resources: [encryptedclusters]
  # Who uses a key that is to be torn down has to be known for certain, and at that moment.
  verbs: [list]
- apiGroups: [cmk-operator.io]
  resources: [customerkeys/status, encryptedclusters/status]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  # Single Secrets by the name that a spec gives; never a list.
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  # patch: an event that repeats is counted.
  verbs: [create, patch]
{{- end }}
