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
{{- $base := .Values.metrics.rules.runbookBase | default "" -}}
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
            summary: Prometheus cannot scrape any pod of {{ .name }}.
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrenservicedown" $base | quote }}
        {{- if .Values.metrics.rules.errorRatio }}
        - alert: WarrenRequestsFail
          expr: >-
            sum(rate(http_request_duration_seconds_count{ {{- $of -}} ,status=~"5.."}[5m]))
            / sum(rate(http_request_duration_seconds_count{ {{- $of -}} }[5m])) > {{ include "chassis.text" .Values.metrics.rules.errorRatio }}
          for: 5m
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: More than {{ mulf .Values.metrics.rules.errorRatio 100 }} % of the requests to {{ .name }} fail with 5xx.
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrenrequestsfail" $base | quote }}
        {{- end }}
        {{- if .Values.networkPolicy.public }}
        - alert: WarrenGatewayRefuses
          expr: sum by (bound) (rate(gateway_refused_total{ {{- $of -}} }[5m])) > 0
          for: 5m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "%s has refused requests for five minutes because the limit {{ $labels.bound }} was reached. See its log." .name | quote }}
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrengatewayrefuses" $base | quote }}
        {{- end }}
        {{- if .Values.amqp.enabled }}
        - alert: WarrenBrokerAway
          expr: min(broker_connected{ {{- $of -}} }) == 0
          for: 2m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: A pod of {{ .name }} has been disconnected from RabbitMQ for two minutes. Requests still succeed; events wait in the outbox.
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrenbrokeraway" $base | quote }}
        - alert: WarrenMessageForged
          expr: sum by (queue, outcome) (increase(messages_forged_total{ {{- $of -}} }[15m])) > 0
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "%s received a message from a broker user that may not publish it (queue {{ $labels.queue }}, outcome {{ $labels.outcome }}). See its log, code forged." .name | quote }}
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrenmessageforged" $base | quote }}
        {{- end }}
        {{- if .Values.database.enabled }}
        - alert: WarrenDatabaseAway
          expr: min(database_connected{ {{- $of -}} }) == 0 or min(sum by (pod) (db_pool_connections{ {{- $of -}} ,state="idle"})) == 0
          for: 2m
          labels: {severity: critical, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: A pod of {{ .name }} has had no usable database connection for two minutes. The database is unavailable, or allows too few connections.
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrendatabaseaway" $base | quote }}
        - alert: WarrenTasksFail
          expr: max by (kind) (tasks_pending{ {{- $of -}} }) > 0
          for: 15m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "Tasks %s of %s have been overdue for 15 minutes. See last_error in warren.tasks." "{{ $labels.kind }}" .name | quote }}
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warrentasksfail" $base | quote }}
        {{- end }}
        {{- if and .Values.amqp.enabled .Values.database.enabled }}
        {{- if .Values.metrics.rules.outboxAge }}
        {{- $age := include "chassis.text" .Values.metrics.rules.outboxAge }}
        - alert: WarrenEventsWait
          expr: max(outbox_oldest_age_seconds{ {{- $of -}} }) > {{ $age }}
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: An event of {{ .name }} has waited in the outbox for more than {{ $age }} s.
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warreneventswait" $base | quote }}
        {{- end }}
        - alert: WarrenEventParked
          expr: max(outbox_parked{ {{- $of -}} }) > 0
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: RabbitMQ permanently refuses an event of {{ .name }}. The event is parked in the outbox.
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warreneventparked" $base | quote }}
        - alert: WarrenEventsHeld
          expr: max by (key) (outbox_held{ {{- $of -}} }) > 0
          for: 5m
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "A queue has rejected events %s of %s for five minutes, because it is full or limited by a policy." "{{ $labels.key }}" .name | quote }}
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warreneventsheld" $base | quote }}
        - alert: WarrenEventsDead
          expr: sum by (queue) (increase(events_consumed_total{ {{- $of -}} ,outcome="dead"}[10m])) > 0
          labels: {severity: warning, service: {{ .name }}, namespace: {{ .Release.Namespace | quote }}}
          annotations:
            summary: {{ printf "%s could not handle an event. The event is in {{ $labels.queue }}.dlq." .name | quote }}
            runbook_url: {{ printf "%sdocs/reference/alerts.md#warreneventsdead" $base | quote }}
        {{- end }}
        {{- range .Values.metrics.rules.counters }}
        - alert: {{ .alert }}
          expr: sum(increase({{ .metric }}{ {{- $of -}} }[15m])) > 0
          labels: {severity: warning, service: {{ $.name }}, namespace: {{ $.Release.Namespace | quote }}}
          annotations:
            summary: {{ .summary | quote }}
            {{- with .runbook }}
            runbook_url: {{ ternary . (printf "%s%s" $base .) (contains "://" .) | quote }}
            {{- end }}
        {{- end }}
{{- end }}
