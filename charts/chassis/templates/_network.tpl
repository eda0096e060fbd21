{{- define "chassis.networkpolicy" -}}
{{- $policy := .Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "chassis.metadata" . }}
spec:
  podSelector:
    matchLabels:
      {{- include "chassis.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    # Requests.
    - ports:
        - port: http
      {{- if not $policy.public }}
      from:
        {{- range $policy.callers }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: {{ . }}
        {{- end }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/component: test
      {{- end }}
    # Prometheus, and `helm test`.
    - ports:
        - port: admin
      from:
        {{- include "chassis.prometheus" . | trim | nindent 8 }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/component: test
    {{- with $policy.ingress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    {{- include "chassis.dns" . | nindent 4 }}
    {{- if .Values.amqp.enabled }}
    - ports:
        - port: 5672
        - port: 5671
      to:
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: rabbitmq
    {{- end }}
    {{- if .Values.database.enabled }}
    - ports:
        - port: 5432
      to:
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: postgresql
    {{- end }}
    {{- if $policy.calls }}
    - ports:
        - port: 8080
      to:
        {{- range $policy.calls }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: {{ . }}
        {{- end }}
    {{- end }}
    {{- with .Values.otlp.endpoint }}
    - ports:
        - port: {{ include "chassis.portOf" . }}
    {{- end }}
    {{- if .Values.auth.enabled }}
    # The keys of the token issuer.
    - ports:
        - port: {{ include "chassis.portOf" .Values.auth.jwksUrl }}
      {{- with .Values.auth.to }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- range $policy.ports }}
    - ports:
        - port: {{ include "chassis.text" . }}
    {{- end }}
    {{- with $policy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "chassis.portOf" -}}
{{- $url := urlParse . }}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "https" | ternary "443" "80") }}
{{- end }}

{{/* Egress to the cluster's DNS; NodeLocal DNSCache listens in 169.254.0.0/16. */}}
{{- define "chassis.dns" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
  to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
    - ipBlock:
        cidr: 169.254.0.0/16
{{- end }}

{{- define "chassis.poddisruptionbudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
{{ include "chassis.metadata" . }}
spec:
  maxUnavailable: {{ include "chassis.text" .Values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "chassis.selector" . | nindent 6 }}
{{- end }}

{{- define "chassis.horizontalpodautoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
{{ include "chassis.metadata" . }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  {{- with .Values.autoscaling.minReplicas }}
  minReplicas: {{ include "chassis.text" . }}
  {{- end }}
  maxReplicas: {{ include "chassis.text" .Values.autoscaling.maxReplicas }}
  {{- with .Values.autoscaling.cpu }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ . }}
  {{- end }}
  behavior:
    # Removes one pod at a time: a pod drains first, and the others take over its load.
    scaleDown:
      {{- if not (kindIs "invalid" .Values.autoscaling.scaleDownAfter) }}
      stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownAfter }}
      {{- end }}
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end }}

{{- define "chassis.service" -}}
apiVersion: v1
kind: Service
{{ include "chassis.metadata" . }}
  {{- if eq (.Values.service.type | default "ClusterIP") "ClusterIP" }}
  {{- include "chassis.annotations" .Values.service.annotations | nindent 2 }}
  {{- end }}
spec:
  selector:
    {{- include "chassis.selector" . | nindent 4 }}
  ports:
    - name: http
      port: 80
      targetPort: http
    - name: admin
      port: 9000
      targetPort: admin
{{- end }}
