{{/*
All objects of a service. The only line of its chart's templates:  {{ include "chassis" . }}
Its values are the library's defaults, overridden by those of the chart and of the user.
*/}}
{{- define "chassis" -}}
{{- $values := deepCopy .Values.chassis -}}
{{- include "chassis.override" (dict "defaults" $values "values" (omit .Values "chassis")) -}}
{{- $name := $values.name | default .Chart.Name -}}
{{- $service := dict "Values" $values "Release" .Release "Chart" .Chart "name" $name -}}
{{- include "chassis.refuse" $service -}}
{{- $parts := list "serviceaccount" "configmap" "deployment" "service" "test" -}}
{{- if ne ($values.service.type | default "ClusterIP") "ClusterIP" }}{{ $parts = append $parts "publicservice" }}{{ end -}}
{{- if $values.ingress.enabled }}{{ $parts = append $parts "ingress" }}{{ end -}}
{{- if $values.networkPolicy.enabled }}{{ $parts = append $parts "networkpolicy" }}{{ end -}}
{{- if and $values.podDisruptionBudget.enabled (not (kindIs "invalid" $values.podDisruptionBudget.maxUnavailable)) }}{{ $parts = append $parts "poddisruptionbudget" }}{{ end -}}
{{- if $values.autoscaling.enabled }}{{ $parts = append $parts "horizontalpodautoscaler" }}{{ end -}}
{{- if $values.metrics.serviceMonitor.enabled }}{{ $parts = append $parts "servicemonitor" }}{{ end -}}
{{- if $values.metrics.rules.enabled }}{{ $parts = append $parts "prometheusrule" }}{{ end -}}
{{- range $parts }}
---
{{ include (printf "chassis.%s" .) $service }}
{{- end }}
{{- end }}

{{/* Overrides defaults with values, in place. Null removes a default; null for a map removes everything in it. */}}
{{- define "chassis.override" -}}
{{- range $key, $value := .values }}
{{- $default := get $.defaults $key }}
{{- if and (kindIs "map" $default) (kindIs "map" $value) }}
{{- include "chassis.override" (dict "defaults" $default "values" $value) }}
{{- else if and (kindIs "map" $default) (kindIs "invalid" $value) }}
{{- include "chassis.empty" $default }}
{{- else if kindIs "invalid" $value }}
{{- $_ := unset $.defaults $key }}
{{- else }}
{{- $_ := set $.defaults $key $value }}
{{- end }}
{{- end }}
{{- end }}

{{/* Removes the scalars of a map and of the maps in it, in place. */}}
{{- define "chassis.empty" -}}
{{- $map := . }}
{{- range $key, $value := $map }}
{{- if kindIs "map" $value }}
{{- include "chassis.empty" $value }}
{{- else }}
{{- $_ := unset $map $key }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuses values that a schema cannot express. */}}
{{- define "chassis.refuse" -}}
{{- with .Values.shutdown }}
{{- if and .grace .drainDelay (ge (int .drainDelay) (int .grace)) }}
{{- fail (printf "shutdown.drainDelay: must be shorter than shutdown.grace (%d s), got %d" (int .grace) (int .drainDelay)) }}
{{- end }}
{{- end }}
{{- if .Values.auth.enabled }}
{{- $auth := .Values.auth }}
{{- range tuple "issuer" "audience" "jwksUrl" }}
{{- if not (get $auth .) }}{{ fail (printf "auth.%s: is required with auth.enabled" .) }}{{ end }}
{{- end }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (not .maxReplicas) }}
{{- fail "autoscaling.maxReplicas: is required with autoscaling.enabled" }}
{{- end }}
{{- if and .enabled .minReplicas (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas: must not be more than autoscaling.maxReplicas (%d), got %d" (int .maxReplicas) (int .minReplicas)) }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: is required with ingress.enabled: [{host: shop.example.com}]" }}
{{- end }}
{{- $opened := not .Values.ingress.enabled | not | ternary "ingress.enabled" (ne (.Values.service.type | default "ClusterIP") "ClusterIP" | ternary "service.type" "") }}
{{- with .Values.networkPolicy }}
{{- if and $opened .enabled (not .public) (not .ingress) }}
{{- fail (printf "%s: networkPolicy allows no requests from outside the cluster: set networkPolicy.public, or rules in networkPolicy.ingress" $opened) }}
{{- end }}
{{- end }}
{{- /* Only if a cluster is available: then every namespace has a ServiceAccount called default. */}}
{{- if lookup "v1" "ServiceAccount" .Release.Namespace "default" }}
{{- $namespace := .Release.Namespace }}
{{- range include "chassis.secrets" . | fromYamlArray }}
{{- $secret := lookup "v1" "Secret" $namespace .secret }}
{{- if not $secret }}
{{- fail (printf "%s: the Secret %q does not exist in the namespace %q: %s" .from .secret $namespace .remedy) }}
{{- else if not (hasKey ($secret.data | default dict) .key) }}
{{- fail (printf "%s: the Secret %q in the namespace %q has no key %q" .from .secret $namespace .key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* All variables that come from a Secret: [{variable, secret, key, from, remedy}]. */}}
{{- define "chassis.secrets" -}}
{{- $values := .Values }}
{{- $name := .name }}
{{- range tuple (tuple "AMQP_URL" "amqp" "rabbitmq") (tuple "DATABASE_URL" "database" "postgresql") }}
{{- $part := get $values (index . 1) }}
{{- if $part.enabled }}
- variable: {{ index . 0 }}
  secret: {{ $part.existingSecret | default (printf "%s-%s" $name (index . 1)) }}
  key: {{ $part.key | default "url" }}
  from: {{ index . 1 }}.existingSecret
  remedy: {{ empty $part.existingSecret | not | ternary "create it first" (printf "let the chart create it: helm upgrade %s charts/%s --reset-then-reuse-values --set services.%s.enabled=true" (index . 2) (index . 2) $name) | quote }}
{{- end }}
{{- end }}
{{- range .Values.secrets }}
- variable: {{ .variable }}
  secret: {{ .secret }}
  key: {{ .key }}
  from: secrets
  remedy: create it first
{{- end }}
{{- with .Values.trust }}
{{- if .existingSecret }}
- variable: NODE_EXTRA_CA_CERTS
  secret: {{ .existingSecret }}
  key: {{ .key | default "ca.crt" }}
  from: trust.existingSecret
  remedy: create it first
{{- end }}
{{- end }}
{{- end }}

{{- define "chassis.labels" -}}
{{ include "chassis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: warren
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "chassis.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "chassis.metadata" -}}
metadata:
  name: {{ .name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "chassis.labels" . | nindent 4 }}
{{- end }}

{{- define "chassis.image" -}}
{{- include "chassis.imageOf" (dict "Values" .Values "repository" (printf "warren/%s" .name) "tag" .Chart.AppVersion) }}
{{- end }}
