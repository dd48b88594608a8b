{{/* The name that everything of ours goes by. Policies, hosts and code know it, so it is no value. */}}
{{- define "drover.name" -}}drover-controllers{{- end }}

{{/* Who the controllers are for the API server. In a lab they are drover:controllers, which the manifests say. */}}
{{- define "drover.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "drover.name" . }}
{{- end }}

{{- define "drover.selector" -}}
app.kubernetes.io/name: {{ include "drover.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "drover.labels" -}}
{{ include "drover.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: drover
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "drover.metadata" -}}
name: {{ include "drover.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "drover.labels" . | nindent 2 }}
{{- end }}

{{/* Create once: an object of this kind and name is there already. Without a cluster nothing is known to be there. */}}
{{- define "drover.there" -}}
{{- if .root.Capabilities.APIVersions.Has (printf "%s/%s" .object.apiVersion .object.kind) }}
{{- if lookup .object.apiVersion .object.kind "" .object.metadata.name }}yes{{ end }}
{{- end }}
{{- end }}

{{/* What the controllers read at their start: src/drover/controllers/config.py. No api_server: as a Pod. */}}
{{- define "drover.config" -}}
{{- $at := .Values.storage.mountPath }}
{{- $config := dict "elect" true "disks_dir" (printf "%s/disks" $at) "images_dir" (printf "%s/images" $at) }}
{{- range $field := list "cidr" "first" "last" "gateway" }}
{{- $_ := set $config (printf "vm_%s" $field) (get $.Values.network $field) }}
{{- end }}
{{- $_ := set $config "webhook_address" "0.0.0.0" }}
{{- $_ := set $config "webhook_service" (printf "%s.%s.svc" (include "drover.name" .) .Release.Namespace) }}
{{- $_ := set $config "migration_ca_secret" "drover-migration-ca" }}
{{- $_ := set $config "closed_networks" .Values.images.closedNetworks }}
{{- toPrettyJson $config }}
{{- end }}
