{{/* `helm test`: every path returns 200 through the Service, or 401 if it needs a token. Uses the service's own image. */}}
{{- define "chassis.test" -}}
{{- $urls := list (printf "http://%s:9000/readyz" .name) (printf "http://%s:9000/metrics" .name) -}}
{{- range .Values.test.paths }}{{ $urls = append $urls (printf "http://%s%s" $.name .) }}{{ end -}}
{{- $expected := .Values.auth.enabled | not | ternary "[200]" "[200, 401]" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .name }}-test
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ .name }}-test
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/component: test
    app.kubernetes.io/part-of: warren
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- include "chassis.pullSecrets" . | nindent 2 }}
  {{- include "chassis.scheduling" . | nindent 2 }}
  securityContext:
    {{- include "chassis.yaml" .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: test
      image: {{ include "chassis.image" . }}
      {{- include "chassis.pullPolicy" . | nindent 6 }}
      command:
        - node
        - --input-type=module
        - --eval
        - |
          for (const url of process.argv.slice(1)) {
            const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
            console.log(response.status, url);
            if (!{{ $expected }}.includes(response.status))
              throw new Error(`{{ $expected }} was expected of ${url}, got: ${await response.text()}`);
            await response.arrayBuffer();
          }
        - --
        {{- range $urls }}
        - {{ . | quote }}
        {{- end }}
      resources:
        requests: {cpu: 10m, memory: 64Mi}
        limits: {cpu: 500m, memory: 128Mi}
      securityContext:
        {{- include "chassis.yaml" .Values.securityContext | nindent 8 }}
{{- end }}
