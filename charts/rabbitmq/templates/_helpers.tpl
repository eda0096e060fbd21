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
{{- include "rabbitmq.imageOf" (dict "Values" .Values "repository" "rabbitmq" "tag" (printf "%s-management" .Chart.AppVersion)) }}
{{- end }}

{{- define "rabbitmq.adminSecret" -}}
{{ .Values.auth.existingSecret | default (printf "%s-admin" .Chart.Name) }}
{{- end }}

{{/* {service: Secret} of the services in the definitions and of the enabled ones in the values. */}}
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

{{/* Limits of each service's user: from the values, otherwise from the first user of the definitions. */}}
{{- define "rabbitmq.userLimits" -}}
{{- $limits := (first (.Files.Get "files/definitions.json" | fromJson).users).limits }}
{{- range $what, $limit := .Values.userLimits }}
{{- if not (kindIs "invalid" $limit) }}{{ $_ := set $limits (printf "max-%s" $what) $limit }}{{ end }}
{{- end }}
{{- toJson $limits }}
{{- end }}

{{/* A pattern that matches routing keys with these prefixes; without prefixes it matches nothing. */}}
{{- define "rabbitmq.keys" -}}
{{- if . }}^({{ join "|" . }}){{ else }}^${{ end }}
{{- end }}

{{/*
The definitions for the broker, without users: the generated file, with the permissions of the enabled services. A service that is
not in the file gets the permissions of the first one under its own name, with the routing keys from the values.
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

{{/* Refuses a Secret that is missing or lacks a key, if a cluster is available: (dict "root" $ "from" "auth.existingSecret" "secret" "x" "keys" (list "password")). */}}
{{- define "rabbitmq.require" -}}
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

{{/* Defaults to one. */}}
{{- define "rabbitmq.replicas" -}}
{{- .Values.replicas | default 1 | int }}
{{- end }}

{{- define "rabbitmq.grace" -}}
{{- .Values.terminationGracePeriodSeconds | default 120 | int }}
{{- end }}

{{/* Refuses volumes that differ from those of the existing StatefulSet, if a cluster is available: Kubernetes refuses them without a reason. */}}
{{- define "rabbitmq.volumes" -}}
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
{{- if ne (include "rabbitmq.bytes" $size) (include "rabbitmq.bytes" $claim.resources.requests.storage) }}
{{- fail (printf "persistence.size: the existing StatefulSet has %s, and Kubernetes cannot change it to %s: %s" $claim.resources.requests.storage $size $way) }}
{{- end }}
{{- if and $persistence.storageClass (ne $persistence.storageClass ($claim.storageClassName | default "")) }}
{{- fail (printf "persistence.storageClass: the existing StatefulSet has %q, and Kubernetes cannot change it: %s" ($claim.storageClassName | default "") $way) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Egress to the cluster's DNS; NodeLocal DNSCache listens in 169.254.0.0/16. */}}
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

{{/* A pod that runs one of the scripts with the passwords of all services: (dict "root" $ "script" "reconcile.sh" "component" "reconcile"). */}}
{{- define "rabbitmq.scriptPod" -}}
{{- $root := .root }}
{{- with .root -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- include "rabbitmq.pullSecrets" . }}
{{- include "rabbitmq.scheduling" . }}
securityContext:
  {{- include "rabbitmq.yaml" .Values.podSecurityContext | nindent 2 }}
containers:
  - name: {{ $.component }}
    image: {{ include "rabbitmq.image" . }}
    {{- include "rabbitmq.pullPolicy" . | nindent 4 }}
    command: [bash, /scripts/{{ $.script }}]
    env:
      - name: RABBITMQ_HOST
        value: {{ .Chart.Name }}
      - name: REPLICAS
        value: {{ include "rabbitmq.replicas" . | quote }}
      - name: TIMEOUT
        value: {{ include "rabbitmq.text" (.Values.reconcile.timeout | default 300) | quote }}
      - name: USER_LIMITS
        value: {{ include "rabbitmq.userLimits" . | quote }}
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
      {{- include "rabbitmq.yaml" .Values.securityContext | nindent 6 }}
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
