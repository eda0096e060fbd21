{{/*
How every chart reads its values. `make charts` copies this file into charts/rabbitmq and charts/postgresql, under their names.
*/}}

{{/* A scalar as text. Numbers of a values file are float64, which Go prints as 1e+06. */}}
{{- define "chassis.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end }}

{{/* `512Mi` in bytes. */}}
{{- define "chassis.bytes" -}}
{{- $text := include "chassis.text" . }}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- $number := regexFind "^[0-9.]+" $text }}
{{- mulf (float64 $number) (get $factors (trimPrefix $number $text)) | int64 }}
{{- end }}

{{/* A map of texts, such as labels, without null values. */}}
{{- define "chassis.texts" -}}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ $key | quote }}: {{ include "chassis.text" $value | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* A map as YAML, without null values and without maps that become empty. */}}
{{- define "chassis.yaml" -}}
{{- $map := deepCopy (. | default dict) }}
{{- include "chassis.withoutNulls" $map }}
{{- toYaml $map }}
{{- end }}

{{- define "chassis.withoutNulls" -}}
{{- $map := . }}
{{- range $key, $value := $map }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $map $key }}
{{- else if kindIs "map" $value }}
{{- include "chassis.withoutNulls" $value }}
{{- if not $value }}{{ $_ := unset $map $key }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Annotations, if there are any. */}}
{{- define "chassis.annotations" -}}
{{- with include "chassis.texts" . | trim }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Annotations of pods: the chart's own, those for Prometheus, and those of the values; later ones override earlier ones. */}}
{{- define "chassis.podAnnotations" -}}
{{- $annotations := .of }}
{{- if .Values.metrics.annotations }}
{{- $_ := set $annotations "prometheus.io/scrape" "true" }}
{{- $_ := set $annotations "prometheus.io/port" .port }}
{{- $_ := set $annotations "prometheus.io/path" "/metrics" }}
{{- end }}
{{- range $key, $value := .Values.podAnnotations }}{{ $_ := set $annotations $key $value }}{{ end }}
{{- include "chassis.texts" $annotations }}
{{- end }}

{{/*
An image: (dict "Values" .Values "repository" "warren/user" "tag" "1.0.0"), where repository and tag are the defaults.
`global.imageRegistry` is prepended if the repository names no registry.
*/}}
{{- define "chassis.imageOf" -}}
{{- $image := .Values.image }}
{{- $repository := $image.repository | default .repository }}
{{- $first := splitList "/" $repository | first }}
{{- $named := and (contains "/" $repository) (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) }}
{{- with (.Values.global).imageRegistry }}
{{- if not $named }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}{{ end }}
{{- end }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository ($image.tag | default .tag) }}
{{- end }}
{{- end }}

{{- define "chassis.pullPolicy" -}}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{/* Secrets for pulling images: those of `global` and of the chart, each a name or {name}. */}}
{{- define "chassis.pullSecrets" -}}
{{- $names := list }}
{{- range concat ((.Values.global).imagePullSecrets | default list) (.Values.imagePullSecrets | default list) }}
{{- if kindIs "map" . }}{{ $names = append $names .name }}{{ else }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- with uniq $names }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Items of `env`: (dict "extra" .Values.extraEnv "own" (list "PORT")). A duplicate name is refused, because its value would be undefined. */}}
{{- define "chassis.extraEnv" -}}
{{- $names := .own }}
{{- range .extra }}
{{- if has .name $names }}
{{- fail (printf "extraEnv: %s is set by the chart already, or listed twice" .name) }}
{{- end }}
{{- $names = append $names .name }}
- name: {{ .name }}
  {{- if not (kindIs "invalid" .value) }}
  value: {{ include "chassis.text" .value | quote }}
  {{- end }}
  {{- with .valueFrom }}
  valueFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Spread constraints of pods; these labels are the default `labelSelector`: (dict "constraints" list "labels" dict). */}}
{{- define "chassis.spread" -}}
{{- with .constraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $constraint := deepCopy . }}
  {{- if not .labelSelector }}{{ $_ := set $constraint "labelSelector" (dict "matchLabels" $.labels) }}{{ end }}
  - {{- toYaml $constraint | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Scheduling: nodes, tolerations, affinity and priority. */}}
{{- define "chassis.scheduling" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with include "chassis.texts" .Values.nodeSelector | trim }}
nodeSelector:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* NetworkPolicy peers of Prometheus: the release's own namespace and those of `networkPolicy.prometheus`. */}}
{{- define "chassis.prometheus" -}}
{{- $prometheus := .Values.networkPolicy.prometheus | default dict }}
{{- $pods := printf "podSelector:\n  matchLabels:%s" (include "chassis.texts" $prometheus.labels | trim | default "{}" | nindent 4) }}
- {{- $pods | nindent 2 }}
{{- range $prometheus.namespaces }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ . }}
  {{- $pods | nindent 2 }}
{{- end }}
{{- end }}
