{{- define "berth-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "berth-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "berth-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "berth-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is required with serviceAccount.create=false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "berth-operator.selector" -}}
app.kubernetes.io/name: {{ include "berth-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Without the chart's version: an upgrade that changes nothing of the Pods restarts none. */ -}}
{{- define "berth-operator.podLabels" -}}
{{ include "berth-operator.selector" . }}
app.kubernetes.io/part-of: berth
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "berth-operator.labels" -}}
{{ include "berth-operator.podLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- /* An image: repository, then its digest, else its tag, else the version. */ -}}
{{- define "berth-operator.image" -}}
{{- $image := index . 0 }}{{ $version := index . 1 -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ default $version $image.tag }}
{{- end }}
{{- end }}

{{- /* The server's image, or nothing where the operator's own default is right. */ -}}
{{- define "berth-operator.registryImage" -}}
{{- with .Values.registryImage }}
{{- if or .repository .tag .digest }}
{{- include "berth-operator.image" (list (dict "repository" (default "berth/registry" .repository) "tag" .tag "digest" .digest) $.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}
