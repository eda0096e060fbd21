{{- define "chassis.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
{{ include "chassis.metadata" . }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{- define "chassis.configmap" -}}
apiVersion: v1
kind: ConfigMap
{{ include "chassis.metadata" . }}
data:
  LOG_LEVEL: {{ .Values.logLevel | quote }}
  SHUTDOWN_GRACE: {{ printf "%ds" (int .Values.shutdown.grace) | quote }}
  DRAIN_DELAY: {{ printf "%ds" (int .Values.shutdown.drainDelay) | quote }}
  {{- with .Values.otlp.endpoint }}
  OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
  {{- end }}
  {{- if .Values.debug }}
  NODE_OPTIONS: --inspect=127.0.0.1:9229 --enable-source-maps
  {{- end }}
  {{- range $variable, $value := .Values.config }}
  {{ $variable }}: {{ $value | toString | quote }}
  {{- end }}
{{- end }}

{{- define "chassis.deployment" -}}
{{- $secrets := include "chassis.secrets" . | fromYamlArray -}}
apiVersion: apps/v1
kind: Deployment
{{ include "chassis.metadata" . }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "chassis.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "chassis.selector" . | nindent 8 }}
        app.kubernetes.io/part-of: warren
      annotations:
        checksum/config: {{ get (include "chassis.configmap" . | fromYaml) "data" | toJson | sha256sum | trunc 16 }}
        {{- if .Values.metrics.annotations }}
        prometheus.io/scrape: 'true'
        prometheus.io/port: '9000'
        prometheus.io/path: /metrics
        {{- end }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add .Values.shutdown.grace 5 }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        {{- include "chassis.podSecurity" . | nindent 8 }}
      containers:
        - name: {{ .name }}
          image: {{ include "chassis.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          ports:
            - name: http
              containerPort: 8080
            - name: admin
              containerPort: 9000
          envFrom:
            - configMapRef:
                name: {{ .name }}
          env:
            - name: PORT
              value: '8080'
            - name: ADMIN_PORT
              value: '9000'
            - name: INSTANCE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            {{- range $secrets }}
            - name: {{ eq .variable "NODE_EXTRA_CA_CERTS" | ternary .variable (printf "%s_FILE" .variable) }}
              value: /run/secrets/warren/{{ .variable }}
            {{- end }}
          startupProbe:
            httpGet:
              path: /livez
              port: admin
            periodSeconds: 1
            timeoutSeconds: 3
            failureThreshold: 60
          # Waits for its database and, the first time, for its queues. A broker that is away later takes no pod out of service.
          readinessProbe:
            httpGet:
              path: /readyz
              port: admin
            periodSeconds: 2
            timeoutSeconds: 3
            failureThreshold: 2
          livenessProbe:
            httpGet:
              path: /livez
              port: admin
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
          securityContext:
            {{- include "chassis.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- if $secrets }}
            - name: secrets
              mountPath: /run/secrets/warren
              readOnly: true
            {{- end }}
      volumes:
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
        {{- if $secrets }}
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              {{- range $secrets }}
              - secret:
                  name: {{ .secret }}
                  items:
                    - key: {{ .key }}
                      path: {{ .variable }}
              {{- end }}
        {{- end }}
      topologySpreadConstraints:
        {{- range tuple "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "chassis.selector" $ | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
