{{/* What the operator may do in each namespace that it serves; one reason beside each rule. Nothing here deletes: the garbage collector does, by ownerReferences. */}}
{{- define "secure-exporter.rules" -}}
# What is asked for. (Get: before a lost state is created anew, it is read whether its SecureExporter still exists.)
- apiGroups: [secureexporter.dev]
  resources: [secureexporters]
  verbs: [get, list, watch]
# What is reported back; it is a subresource, so the right to it gives none to the spec.
- apiGroups: [secureexporter.dev]
  resources: [secureexporters/status]
  verbs: [patch]
# Children name their SecureExporter as blocking owner, which clusters that enforce owner permissions
# (OpenShift does) allow only to those who may update its finalizers.
- apiGroups: [secureexporter.dev]
  resources: [secureexporters/finalizers]
  verbs: [update]
# State, server and scrape Secrets, and the public CA bundle; of others, it reads those that spec.tls.issuer names.
# No resourceNames: the names follow the SecureExporters, and list, watch and create cannot be bound to names.
# No delete: losing the state Secret loses the authority.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get, list, watch, create, update]
# The exporter on every node.
- apiGroups: [apps]
  resources: [daemonsets]
  verbs: [get, list, watch, create, patch]
# The headless Service that names the exporters, and the ServiceAccount (without a token) that they run as.
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
# The Role with which the scrapers in spec.scrape.serviceAccounts discover the exporters. The operator can only grant what
# is in this list, because the API server refuses privilege escalation (no `escalate`, no `bind`).
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
# To see which nodes have an exporter, and to grant the same permission to the scrapers: the operator cannot grant what it
# does not have.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# To read why pods cannot start (a Pod Security refusal is found only in an event of the DaemonSet).
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# To publish events.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# The Lease in each namespace that holds a SecureExporter, by which only one release serves it; it is deleted when there is none
# any more. (Create cannot be bound to a name.)
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [secure-exporter-operator]
  verbs: [get, update, delete]
# To request certificates from cert-manager if spec.tls.issuer.type is CertManager, and to delete completed requests.
- apiGroups: [cert-manager.io]
  resources: [certificaterequests]
  verbs: [list, create, delete]
{{- end -}}
