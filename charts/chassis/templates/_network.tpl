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
    # Prometheus, wherever it runs, and `helm test`.
    - ports:
        - port: admin
      from:
        - namespaceSelector: {}
          podSelector:
            matchLabels:
              app.kubernetes.io/name: prometheus
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
    {{- $url := urlParse . }}
    - ports:
        - port: {{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "https" | ternary "443" "80") }}
    {{- end }}
    {{- range $policy.ports }}
    - ports:
        - port: {{ . }}
    {{- end }}
    {{- with $policy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The way to the cluster's names; 169.254.0.0/16 is where a node's own cache of them listens. */}}
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
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
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
  minReplicas: {{ .Values.autoscaling.minReplicas }}
  maxReplicas: {{ .Values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .Values.autoscaling.cpu }}
  behavior:
    # A pod that goes drains first; one at a time leaves the others room for what it did.
    scaleDown:
      stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownAfter }}
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end }}

{{- define "chassis.service" -}}
apiVersion: v1
kind: Service
{{ include "chassis.metadata" . }}
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
