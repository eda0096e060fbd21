{{- define "chassis.servicemonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
{{ include "chassis.metadata" . }}
    {{- with include "chassis.texts" .Values.metrics.serviceMonitor.labels | trim }}
    {{- . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "chassis.selector" . | nindent 6 }}
  endpoints:
    - port: admin
      {{- with .Values.metrics.serviceMonitor.interval }}
      interval: {{ . }}
      {{- end }}
{{- end }}

{{- define "chassis.prometheusrule" -}}
{{- $of := printf "namespace=%q,service=%q" .Release.Namespace .name -}}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
{{ include "chassis.metadata" . }}
    {{- with include "chassis.texts" .Values.metrics.rules.labels | trim }}
    {{- . | nindent 4 }}
    {{- end }}
spec:
  groups:
    - name: {{ .name }}
      rules:
        - alert: WarrenServiceDown
          expr: absent(up{ {{- $of -}} } == 1)
          for: 2m
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: No pod of {{ .name }} answers Prometheus.
        {{- if .Values.metrics.rules.errorRatio }}
        - alert: WarrenRequestsFail
          expr: >-
            sum(rate(http_request_duration_seconds_count{ {{- $of -}} ,status=~"5.."}[5m]))
            / sum(rate(http_request_duration_seconds_count{ {{- $of -}} }[5m])) > {{ include "chassis.text" .Values.metrics.rules.errorRatio }}
          for: 5m
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ .name }} answers more than {{ mulf .Values.metrics.rules.errorRatio 100 }} % of its requests with 5xx.
        {{- end }}
        {{- if .Values.networkPolicy.public }}
        - alert: WarrenGatewayRefuses
          expr: sum by (bound) (rate(gateway_refused_total{ {{- $of -}} }[5m])) > 0
          for: 5m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "%s has refused clients for five minutes, because of its bound {{ $labels.bound }}; its log says whom." .name | quote }}
        {{- end }}
        {{- if .Values.amqp.enabled }}
        - alert: WarrenBrokerAway
          expr: min(broker_connected{ {{- $of -}} }) == 0
          for: 2m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: A pod of {{ .name }} has not been connected to RabbitMQ for two minutes; requests are answered, events wait.
        - alert: WarrenMessageForged
          expr: sum by (queue, outcome) (increase(messages_forged_total{ {{- $of -}} }[15m])) > 0
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "A message to %s came from another broker user than its contract names ({{ $labels.queue }}, {{ $labels.outcome }}); the log says whose, code forged." .name | quote }}
        {{- end }}
        {{- if .Values.database.enabled }}
        - alert: WarrenDatabaseAway
          expr: min(database_connected{ {{- $of -}} }) == 0 or min(sum by (pod) (db_pool_connections{ {{- $of -}} ,state="idle"})) == 0
          for: 2m
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: A pod of {{ .name }} has had no free connection to its database for two minutes, or cannot use it; the database is unavailable, or has too few.
        - alert: WarrenTasksFail
          expr: max by (kind) (tasks_pending{ {{- $of -}} }) > 0
          for: 15m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "Tasks %s of %s have been waiting for a quarter of an hour; where they fail, last_error in warren.tasks says why." "{{ $labels.kind }}" .name | quote }}
        {{- end }}
        {{- if and .Values.amqp.enabled .Values.database.enabled }}
        {{- if .Values.metrics.rules.outboxAge }}
        {{- $age := include "chassis.text" .Values.metrics.rules.outboxAge }}
        - alert: WarrenEventsWait
          expr: max(outbox_oldest_age_seconds{ {{- $of -}} }) > {{ $age }}
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: An event of {{ .name }} has waited for its publication for more than {{ $age }} s.
        {{- end }}
        - alert: WarrenEventParked
          expr: max(outbox_parked{ {{- $of -}} }) > 0
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: RabbitMQ will never take an event of {{ .name }}; it is parked in the outbox.
        - alert: WarrenEventsHeld
          expr: max by (key) (outbox_held{ {{- $of -}} }) > 0
          for: 5m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "A queue has rejected events %s of %s for five minutes; it is full, or a policy limits it." "{{ $labels.key }}" .name | quote }}
        - alert: WarrenEventsDead
          expr: sum by (queue) (increase(events_consumed_total{ {{- $of -}} ,outcome="dead"}[10m])) > 0
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "%s has given an event up; it lies in {{ $labels.queue }}.dlq." .name | quote }}
        {{- end }}
        {{- range .Values.metrics.rules.counters }}
        - alert: {{ .alert }}
          expr: sum(increase({{ .metric }}{ {{- $of -}} }[15m])) > 0
          labels: {severity: warning, service: {{ $.name }}, namespace: {{ $.Release.Namespace | quote }}}
          annotations:
            summary: {{ .summary | quote }}
        {{- end }}
{{- end }}
