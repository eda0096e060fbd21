{{- define "chassis.ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
{{ include "chassis.metadata" . }}
  {{- include "chassis.annotations" .Values.ingress.annotations | nindent 2 }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .Values.ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range .Values.ingress.hosts }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range .paths | default (list (dict "path" "/")) }}
          - path: {{ .path | quote }}
            pathType: {{ .pathType | default "Prefix" }}
            backend:
              service:
                name: {{ $.name }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end }}

{{/* Without the port of /metrics, which is not public. */}}
{{- define "chassis.publicservice" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-public
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "chassis.labels" . | nindent 4 }}
  {{- include "chassis.annotations" .Values.service.annotations | nindent 2 }}
spec:
  type: {{ .Values.service.type }}
  {{- if eq .Values.service.type "LoadBalancer" }}
  # Keeps the clients' addresses, because rate limits are per client.
  externalTrafficPolicy: Local
  {{- end }}
  selector:
    {{- include "chassis.selector" . | nindent 4 }}
  ports:
    - name: http
      port: 80
      targetPort: http
{{- end }}
