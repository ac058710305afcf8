{{/* The operator's permissions in each namespace that it serves, each with its reason. The operator only deletes Leases, CertificateRequests and PodMonitors; the garbage collector deletes generated objects, by their ownerReferences. */}}
{{- define "secure-exporter.rules" -}}
# The resources. (Get: before the operator creates a lost state again, it reads whether its SecureExporter still exists.)
- apiGroups: [secureexporter.dev]
  resources: [secureexporters]
  verbs: [get, list, watch]
# Their status. It is a subresource, so this allows no change of the spec.
- apiGroups: [secureexporter.dev]
  resources: [secureexporters/status]
  verbs: [patch]
# Generated objects name their SecureExporter as blocking owner. Clusters that enforce owner permissions, such as OpenShift,
# only allow this to clients that may update its finalizers.
- apiGroups: [secureexporter.dev]
  resources: [secureexporters/finalizers]
  verbs: [update]
# The generated Secrets and the ConfigMap with the CA bundle, and the user-supplied ones that a spec references. Of the others,
# the operator only watches the metadata, to learn when a referenced one changes.
# No resourceNames: the names depend on the SecureExporters, and list, watch and create cannot be restricted to names.
# No delete: the key of the CA would be lost with the state Secret.
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
# The Lease by which only one release serves a namespace. It is deleted when the namespace has no SecureExporter any more.
# (Create cannot be restricted to a name.)
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
# The PodMonitor of each resource, where prometheus-operator is installed. It is the only generated object that is ever deleted.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
{{- end -}}
