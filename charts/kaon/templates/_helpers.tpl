{{/* Prefix of every object's name. */}}
{{- define "kaon.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "kaon.operator" -}}
{{- include "kaon.fullname" . }}-operator
{{- end }}

{{- define "kaon.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "kaon.operator" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the ServiceAccount to use, since serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The Secret with the root key. */}}
{{- define "kaon.rootKey" -}}
{{- default (printf "%s-root-key" (include "kaon.fullname" .)) .Values.trust.rootKeySecret }}
{{- end }}

{{/* Labels of every object. They never reach what the operator makes: see docs/architecture. */}}
{{- define "kaon.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: kaon
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kaon
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels that select the pods of a component: dict "root" $ "component" "operator". */}}
{{- define "kaon.selector" -}}
app.kubernetes.io/name: kaon
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Full reference of an image: dict "root" $ "name" "operator". */}}
{{- define "kaon.image" -}}
{{- $image := index .root.Values.images .name }}
{{- with .root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- with $image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The admission policies that the operator waits for. */}}
{{- define "kaon.policies" -}}
{{- $names := list }}
{{- if .Values.reportPolicy.enabled }}{{ $names = append $names "reports" }}{{ end }}
{{- if .Values.operatorPolicy.enabled }}{{ $names = append $names "operator" }}{{ end }}
{{- join "," $names }}
{{- end }}

{{- define "kaon.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Pod and container security that pass Pod Security "restricted". */}}
{{- define "kaon.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "kaon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A map of limits as the operator's flags take it. */}}
{{- define "kaon.limits" -}}
{{- $parts := list }}
{{- range $name, $quantity := . }}
{{- $parts = append $parts (printf "%s=%v" $name $quantity) }}
{{- end }}
{{- join "," $parts }}
{{- end }}

{{- define "kaon.storageUri" -}}
{{- if .Values.storage.uri }}{{ .Values.storage.uri }}
{{- else if .Values.store.enabled }}s3://{{ .Values.store.bucket }}
{{- end }}
{{- end }}

{{/* JSON list of the namespaces that the embedded store serves: the release's own first. */}}
{{- define "kaon.storeNamespaces" -}}
{{- prepend .Values.store.namespaces .Release.Namespace | uniq | toJson }}
{{- end }}

{{/* JSON list of the same, each as NAMESPACE, or as NAMESPACE=DOMAIN where it shares a trust domain. */}}
{{- define "kaon.storeTenants" -}}
{{- $domains := dict }}
{{- range .Values.trust.domains }}
{{- $name := .name }}
{{- range .namespaces }}
{{- $_ := set $domains . $name }}
{{- end }}
{{- end }}
{{- $tenants := list }}
{{- range include "kaon.storeNamespaces" . | fromJsonArray }}
{{- $tenants = append $tenants (hasKey $domains . | ternary (printf "%s=%s" . (get $domains .)) .) }}
{{- end }}
{{- $tenants | toJson }}
{{- end }}

{{/*
More than one namespace over a store of one's own: whose Secret opens what is not seen from here, so somebody has to say
it. The embedded store gives each namespace a key that opens its own folder.
*/}}
{{- define "kaon.checkStorage" -}}
{{- if and .Values.storage.uri (ne (len .Values.watchNamespaces) 1) (not .Values.storage.credentials) }}
{{- fail "storage.credentials: several namespaces write to storage.uri. Set PerNamespace when each namespace's Secret opens only its own folder (storage.uri/NAMESPACE/), or Shared when you accept that every namespace can read, change and delete the artifacts of the others." }}
{{- end }}
{{- end }}

{{- define "kaon.storageSecret" -}}
{{- if .Values.storage.secretName }}{{ .Values.storage.secretName }}
{{- else if .Values.store.enabled }}kaon-store
{{- end }}
{{- end }}

{{/* What the operator may do in a namespace that it watches. */}}
{{- define "kaon.operatorRules" -}}
- apiGroups: [kaon.dev]
  resources: [datasets, trainingruns, compressionjobs, modeldeployments]
  verbs: [list, watch]
- apiGroups: [kaon.dev]
  resources: [datasets/status, trainingruns/status, compressionjobs/status, modeldeployments/status]
  verbs: [update]
# Owner references that block deletion need this where the API server checks it (OpenShift does).
- apiGroups: [kaon.dev]
  resources: [datasets/finalizers, trainingruns/finalizers, compressionjobs/finalizers, modeldeployments/finalizers]
  verbs: [update]
- apiGroups: [kaon.dev]
  resources: [reports]
  verbs: [get, list, watch, create, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The keys of the namespace's trust domain, kaon-signing. Made, never read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# The identity of stage pods, kaon-job. It can be bound to the role of that name and to nothing else.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, list, watch, create]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [kaon-job]
  verbs: [bind]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* What a stage's pod may do: say how it goes. The policy own-report narrows it to its own. */}}
{{- define "kaon.jobRules" -}}
- apiGroups: [kaon.dev]
  resources: [reports/status]
  verbs: [patch]
{{- end }}

{{/* Budgets as JSON. Helm reads whole numbers of a file as floats, which it would write as 1e+06. */}}
{{- define "kaon.budgets" -}}
{{- $budgets := dict }}
{{- range $name, $value := . }}
{{- $_ := set $budgets $name (int64 $value) }}
{{- end }}
{{- toJson $budgets }}
{{- end }}
