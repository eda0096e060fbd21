{{- define "postgresql.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "postgresql.labels" -}}
{{ include "postgresql.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: warren
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "postgresql.metadata" -}}
metadata:
  name: {{ .Chart.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "postgresql.labels" . | nindent 4 }}
{{- end }}

{{- define "postgresql.image" -}}
{{- include "postgresql.imageOf" (dict "Values" .Values "repository" "postgres" "tag" .Chart.AppVersion) }}
{{- end }}

{{- define "postgresql.adminSecret" -}}
{{ .Values.auth.existingSecret | default (printf "%s-admin" .Chart.Name) }}
{{- end }}

{{/* {service: Secret} of the enabled services. */}}
{{- define "postgresql.services" -}}
{{- $services := dict }}
{{- range $name, $service := .Values.services }}
{{- $service = $service | default dict }}
{{- if ne (get $service "enabled" | toString) "false" }}
{{- $_ := set $services $name ($service.existingSecret | default (printf "%s-database" $name)) }}
{{- end }}
{{- end }}
{{- toJson $services }}
{{- end }}

{{/* Refuses a Secret that is missing or lacks a key, if a cluster is available: (dict "root" $ "from" "auth.existingSecret" "secret" "x" "keys" (list "password")). */}}
{{- define "postgresql.require" -}}
{{- $namespace := .root.Release.Namespace }}
{{- if lookup "v1" "ServiceAccount" $namespace "default" }}
{{- $secret := lookup "v1" "Secret" $namespace .secret }}
{{- if not $secret }}
{{- fail (printf "%s: the Secret %q does not exist in the namespace %q: create it first" .from .secret $namespace) }}
{{- end }}
{{- range .keys }}
{{- if not (hasKey ($secret.data | default dict) .) }}
{{- fail (printf "%s: the Secret %q in the namespace %q has no key %q" $.from $.secret $namespace .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuses volumes that differ from those of the existing StatefulSet, if a cluster is available: Kubernetes refuses them without a reason. */}}
{{- define "postgresql.volumes" -}}
{{- with lookup "apps/v1" "StatefulSet" .Release.Namespace .Chart.Name }}
{{- $claim := dict }}
{{- range .spec.volumeClaimTemplates }}{{ $claim = .spec }}{{ end }}
{{- $persistence := $.Values.persistence }}
{{- $size := $persistence.size | default "2Gi" }}
{{- $way := "keep it, or replace the StatefulSet and keep its pods: docs/how-to/production-values.md#volumes" }}
{{- if ne (empty $claim) (not $persistence.enabled) }}
{{- fail (printf "persistence.enabled: differs from the existing StatefulSet, and Kubernetes cannot change it: %s" $way) }}
{{- end }}
{{- if $claim }}
{{- if ne (include "postgresql.bytes" $size) (include "postgresql.bytes" $claim.resources.requests.storage) }}
{{- fail (printf "persistence.size: the existing StatefulSet has %s, and Kubernetes cannot change it to %s: %s" $claim.resources.requests.storage $size $way) }}
{{- end }}
{{- if and $persistence.storageClass (ne $persistence.storageClass ($claim.storageClassName | default "")) }}
{{- fail (printf "persistence.storageClass: the existing StatefulSet has %q, and Kubernetes cannot change it: %s" ($claim.storageClassName | default "") $way) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Egress to the cluster's DNS; NodeLocal DNSCache listens in 169.254.0.0/16. */}}
{{- define "postgresql.dns" -}}
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

{{/* A pod that runs one of the scripts with the passwords of all services: (dict "root" $ "script" "reconcile.sh" "component" "reconcile"). */}}
{{- define "postgresql.scriptPod" -}}
{{- with .root -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "postgresql.pullSecrets" . }}
{{- include "postgresql.scheduling" . }}
securityContext:
  {{- include "postgresql.yaml" .Values.podSecurityContext | nindent 2 }}
containers:
  - name: {{ $.component }}
    image: {{ include "postgresql.image" . }}
    {{- include "postgresql.pullPolicy" . | nindent 4 }}
    command: [bash, /scripts/{{ $.script }}]
    env:
      - name: PGHOST
        value: {{ .Chart.Name }}
      - name: PGUSER
        value: postgres
      - name: PGPASSFILE
        value: /tmp/pgpass
      - name: TIMEOUT
        value: {{ include "postgresql.text" (.Values.reconcile.timeout | default 300) | quote }}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {cpu: 500m, memory: 64Mi}
    securityContext:
      {{- include "postgresql.yaml" .Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: scripts
        mountPath: /scripts
        readOnly: true
      - name: credentials
        mountPath: /credentials
        readOnly: true
      - name: tmp
        mountPath: /tmp
volumes:
  - name: scripts
    configMap:
      name: {{ .Chart.Name }}
  - name: credentials
    projected:
      defaultMode: 0440
      sources:
        - secret:
            name: {{ include "postgresql.adminSecret" . }}
            items:
              - key: password
                path: password
        {{- range $service, $secret := include "postgresql.services" . | fromJson }}
        - secret:
            name: {{ $secret }}
            items:
              - key: password
                path: services/{{ $service }}/password
        {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 16Mi
{{- end }}
{{- end }}
