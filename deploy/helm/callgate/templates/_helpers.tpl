{{- define "callgate.name" -}}
{{- $name := printf "%s-callgate" .Release.Name }}
{{- if contains "callgate" .Release.Name }}{{ $name = .Release.Name }}{{ end }}
{{- $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "callgate.selector" -}}
app.kubernetes.io/name: callgate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "callgate.labels" -}}
{{ include "callgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "callgate.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "callgate.name" .) }}
{{- end }}

{{- define "callgate.image" -}}
{{ required "image.repository is empty: build an image, push it to a registry that the cluster can reach, and name it here (docs/kubernetes.md, The image)" .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}
{{- else }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}
