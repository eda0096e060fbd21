{{- define "rabbitmq.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rabbitmq.labels" -}}
{{ include "rabbitmq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: warren
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "rabbitmq.metadata" -}}
metadata:
  name: {{ .Chart.Name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "rabbitmq.labels" . | nindent 4 }}
{{- end }}

{{- define "rabbitmq.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{- define "rabbitmq.adminSecret" -}}
{{ .Values.auth.existingSecret | default (printf "%s-admin" .Chart.Name) }}
{{- end }}

{{/* {service: Secret}: those of the definitions, and those of the values that are not turned off. */}}
{{- define "rabbitmq.services" -}}
{{- $services := dict }}
{{- range (.Files.Get "files/definitions.json" | fromJson).users }}
{{- $_ := set $services .name (printf "%s-amqp" .name) }}
{{- end }}
{{- range $name, $service := .Values.services }}
{{- $service = $service | default dict }}
{{- if eq (get $service "enabled" | toString) "false" }}
{{- $_ := unset $services $name }}
{{- else }}
{{- $_ := set $services $name ($service.existingSecret | default (printf "%s-amqp" $name)) }}
{{- end }}
{{- end }}
{{- toJson $services }}
{{- end }}

{{/* A pattern that matches these beginnings of routing keys; of none, one that matches no key. */}}
{{- define "rabbitmq.keys" -}}
{{- if . }}^({{ join "|" . }}){{ else }}^${{ end }}
{{- end }}

{{/*
What the broker is to hold, without its users: the generated file, with the permissions of the services that are turned on. One
that the file does not know has those of the first, under its own name, and the routing keys that the values give it.
*/}}
{{- define "rabbitmq.definitions" -}}
{{- $file := .Files.Get "files/definitions.json" | fromJson }}
{{- $known := dict }}
{{- range $file.users }}{{ $_ := set $known .name true }}{{ end }}
{{- $values := .Values.services }}
{{- $all := dict "permissions" list "topic_permissions" list }}
{{- range $service := include "rabbitmq.services" . | fromJson | keys | sortAlpha }}
{{- $model := hasKey $known $service | ternary $service (first $file.users).name }}
{{- $keys := dict }}
{{- if not (hasKey $known $service) }}
{{- $may := get $values $service | default dict }}
{{- $consumes := list }}
{{- range $may.consumes }}{{ $consumes = append $consumes (printf "%s$" (regexQuoteMeta .)) }}{{ end }}
{{- $rpc := list }}
{{- range $may.calls }}{{ $rpc = append $rpc (printf "%s$" (regexQuoteMeta .)) }}{{ end }}
{{- range $may.answers }}{{ $rpc = append $rpc (printf "%s\\.reply\\." (regexQuoteMeta .)) }}{{ end }}
{{- $keys = dict "events" (dict "read" (include "rabbitmq.keys" $consumes)) "rpc" (dict "write" (include "rabbitmq.keys" $rpc)) }}
{{- end }}
{{- range $kind := tuple "permissions" "topic_permissions" }}
{{- range get $file $kind }}
{{- if eq .user $model }}
{{- $permission := dict }}
{{- range $key, $value := . }}
{{- $_ := set $permission $key (has $key (list "user" "configure" "write" "read") | ternary (replace $model $service $value) $value) }}
{{- end }}
{{- $_ := set $all $kind (append (get $all $kind) (mergeOverwrite $permission (get $keys (.exchange | default "") | default dict))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- mergeOverwrite (omit $file "users") $all | toPrettyJson }}
{{- end }}

{{/* Refuses a Secret that is missing or lacks a key, where there is a cluster to ask: (dict "root" $ "from" "auth.existingSecret" "secret" "x" "keys" (list "password")). */}}
{{- define "rabbitmq.require" -}}
{{- $namespace := .root.Release.Namespace }}
{{- if lookup "v1" "ServiceAccount" $namespace "default" }}
{{- $secret := lookup "v1" "Secret" $namespace .secret }}
{{- if not $secret }}
{{- fail (printf "%s: there is no Secret %q in the namespace %q: make it first" .from .secret $namespace) }}
{{- end }}
{{- range .keys }}
{{- if not (hasKey ($secret.data | default dict) .) }}
{{- fail (printf "%s: the Secret %q in the namespace %q has no key %q" $.from $.secret $namespace .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The restricted Pod Security Standard. 999 is rabbitmq in the official image. */}}
{{- define "rabbitmq.podSecurity" -}}
runAsNonRoot: true
runAsUser: 999
runAsGroup: 999
fsGroup: 999
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "rabbitmq.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "rabbitmq.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* `512Mi` in bytes. */}}
{{- define "rabbitmq.bytes" -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 }}
{{- $number := regexFind "^[0-9.]+" (toString .) }}
{{- mulf (float64 $number) (get $factors (trimPrefix $number (toString .))) | int64 }}
{{- end }}

{{/* The way to the cluster's names; 169.254.0.0/16 is where a node's own cache of them listens. */}}
{{- define "rabbitmq.dns" -}}
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

{{/* A pod that runs one of the scripts with everyone's passwords: (dict "root" $ "script" "reconcile.sh" "component" "reconcile"). */}}
{{- define "rabbitmq.scriptPod" -}}
{{- $root := .root }}
{{- with .root -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "rabbitmq.pullSecrets" . }}
securityContext:
  {{- include "rabbitmq.podSecurity" . | nindent 2 }}
containers:
  - name: {{ $.component }}
    image: {{ include "rabbitmq.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [bash, /scripts/{{ $.script }}]
    env:
      - name: RABBITMQ_HOST
        value: {{ .Chart.Name }}
      - name: REPLICAS
        value: {{ .Values.replicas | quote }}
      - name: TIMEOUT
        value: {{ .Values.reconcile.timeout | quote }}
      - name: RABBITMQ_USER
        valueFrom:
          secretKeyRef:
            name: {{ include "rabbitmq.adminSecret" . }}
            key: username
      - name: RABBITMQ_PASSWORD
        valueFrom:
          secretKeyRef:
            name: {{ include "rabbitmq.adminSecret" . }}
            key: password
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {cpu: 500m, memory: 64Mi}
    securityContext:
      {{- include "rabbitmq.containerSecurity" . | nindent 6 }}
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
      name: {{ .Chart.Name }}-definitions
  - name: credentials
    projected:
      defaultMode: 0440
      sources:
        {{- range $service, $secret := include "rabbitmq.services" . | fromJson }}
        - secret:
            name: {{ $secret }}
            items:
              - key: password
                path: {{ $service }}/password
        {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: 16Mi
{{- end }}
{{- end }}
