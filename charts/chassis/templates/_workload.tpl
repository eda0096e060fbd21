{{- define "chassis.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
{{ include "chassis.metadata" . }}
  {{- include "chassis.annotations" .Values.serviceAccount.annotations | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{- define "chassis.configmap" -}}
apiVersion: v1
kind: ConfigMap
{{ include "chassis.metadata" . }}
data:
  {{- include "chassis.config" . | trim | nindent 2 }}
{{- end }}

{{/* The environment, without null variables. */}}
{{- define "chassis.config" -}}
{{- $variables := dict "LOG_LEVEL" .Values.logLevel }}
{{- range $variable, $seconds := dict "SHUTDOWN_GRACE" .Values.shutdown.grace "DRAIN_DELAY" .Values.shutdown.drainDelay }}
{{- if not (kindIs "invalid" $seconds) }}{{ $_ := set $variables $variable (printf "%ds" (int $seconds)) }}{{ end }}
{{- end }}
{{- with .Values.otlp.endpoint }}{{ $_ := set $variables "OTEL_EXPORTER_OTLP_ENDPOINT" . }}{{ end }}
{{- with .Values.auth }}
{{- $_ := set $variables "AUTH" (.enabled | not | ternary "off" "jwt") }}
{{- if .enabled }}
{{- range $variable, $value := dict "AUTH_ISSUER" .issuer "AUTH_AUDIENCE" .audience "AUTH_JWKS_URL" .jwksUrl "AUTH_SUBJECT_CLAIM" .subjectClaim "AUTH_ROLES_CLAIM" .rolesClaim }}
{{- with $value }}{{ $_ := set $variables $variable . }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.debug }}{{ $_ := set $variables "NODE_OPTIONS" "--inspect=127.0.0.1:9229 --enable-source-maps" }}{{ end }}
{{- range $variable, $value := .Values.config }}{{ $_ := set $variables $variable $value }}{{ end }}
{{- include "chassis.texts" $variables }}
{{- end }}

{{- define "chassis.deployment" -}}
{{- $secrets := include "chassis.secrets" . | fromYamlArray -}}
{{- $own := list "PORT" "ADMIN_PORT" "INSTANCE" -}}
{{- range $secrets }}{{ $own = concat $own (list .variable (printf "%s_FILE" .variable)) }}{{ end -}}
apiVersion: apps/v1
kind: Deployment
{{ include "chassis.metadata" . }}
  {{- include "chassis.annotations" .Values.annotations | nindent 2 }}
spec:
  {{- if not (or .Values.autoscaling.enabled (kindIs "invalid" .Values.replicas)) }}
  replicas: {{ include "chassis.text" .Values.replicas }}
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
        {{- $labels := include "chassis.selector" . | fromYaml | merge (dict "app.kubernetes.io/part-of" "warren") }}
        {{- include "chassis.texts" (merge $labels (.Values.podLabels | default dict)) | trim | nindent 8 }}
      annotations:
        {{- $annotations := dict "checksum/config" (get (include "chassis.configmap" . | fromYaml) "data" | toJson | sha256sum | trunc 16) }}
        {{- include "chassis.podAnnotations" (dict "of" $annotations "port" "9000" "Values" .Values) | trim | nindent 8 }}
    spec:
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with .Values.shutdown.grace }}
      terminationGracePeriodSeconds: {{ add . 5 }}
      {{- end }}
      {{- include "chassis.pullSecrets" . | nindent 6 }}
      {{- include "chassis.scheduling" . | nindent 6 }}
      securityContext:
        {{- include "chassis.yaml" .Values.podSecurityContext | nindent 8 }}
      containers:
        - name: {{ .name }}
          image: {{ include "chassis.image" . }}
          {{- include "chassis.pullPolicy" . | nindent 10 }}
          ports:
            - name: http
              containerPort: 8080
            - name: admin
              containerPort: 9000
          envFrom:
            - configMapRef:
                name: {{ .name }}
            {{- with .Values.envFrom }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
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
            {{- include "chassis.extraEnv" (dict "extra" .Values.extraEnv "own" $own) | nindent 12 }}
          startupProbe:
            httpGet:
              path: /livez
              port: admin
            periodSeconds: 1
            timeoutSeconds: 3
            failureThreshold: 60
          # Ready needs the database and, at the first start, the queues. A later outage of the broker does not make a pod unready.
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
            {{- include "chassis.yaml" .Values.resources | nindent 12 }}
          securityContext:
            {{- include "chassis.yaml" .Values.securityContext | nindent 12 }}
          volumeMounts:
            - name: tmp
              mountPath: /tmp
            {{- if $secrets }}
            - name: secrets
              mountPath: /run/secrets/warren
              readOnly: true
            {{- end }}
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
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
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- include "chassis.spread" (dict "constraints" .Values.topologySpreadConstraints "labels" (include "chassis.selector" . | fromYaml)) | nindent 6 }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
