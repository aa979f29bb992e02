package configs

import (
	"fmt"
	"slices"

	"supd/supervisor/spec"
)

// An outcome is what becomes of a field, or a kind of object, of Kubernetes.
type outcome int

const (
	// taken: it means here what it means there; the note says as what, and how far.
	taken outcome = iota
	// ignored: only Kubernetes' own machinery needs it; told in one warning.
	ignored
	// silent: filled in by Kubernetes' server, or means the same as leaving it out.
	silent
	// refused: ignoring it would change the meaning; the note is the error's text.
	refused
)

func (o outcome) String() string {
	return [...]string{"taken", "ignored, with a warning", "passed over", "refused"}[o]
}

// notYet ends the reasons that a later version may take away.
const notYet = "not supported by this version"

// kubeField is one line of the table: a decision.
type kubeField struct {
	name string
	is   outcome
	note string
}

// kubeType is one of Kubernetes' types as it stands at one place of a manifest.
type kubeType struct {
	name string
	// api is the type's name at Kubernetes, when places differ in what is taken; else name.
	api string
	// where it stands, for readers.
	where  string
	fields []kubeField
}

func (t *kubeType) field(name string) *kubeField {
	for i := range t.fields {
		if t.fields[i].name == name {
			return &t.fields[i]
		}
	}
	return nil
}

func (t *kubeType) names() []string {
	out := make([]string, len(t.fields))
	for i, f := range t.fields {
		out[i] = f.name
	}
	return out
}

// kubeTypes are the parts of the table in order.
var kubeTypes = [][]kubeType{kubeSetTypes, kubePodTypes, kubeContainerTypes, kubeConfigTypes, kubeServiceTypes}

// typeOf finds a type of the table.
func typeOf(name string) *kubeType {
	for _, list := range kubeTypes {
		for i := range list {
			if list[i].name == name {
				return &list[i]
			}
		}
	}
	panic(fmt.Sprintf("configs: the table of Kubernetes' fields has no type %q; add it", name))
}

// kubeKind is what becomes of a whole document.
type kubeKind struct {
	version, kind string
	is            outcome
	note          string
}

// Versions of Kubernetes' API that name kinds of the table.
const (
	kubeBatchV1      = "batch/v1"
	kubePolicyV1     = "policy/v1"
	kubeRBACV1       = "rbac.authorization.k8s.io/v1"
	kubeStorageV1    = "storage.k8s.io/v1"
	kubeNetworkV1    = "networking.k8s.io/v1"
	kubeScalingV2    = "autoscaling/v2"
	kubeSchedulingV1 = "scheduling.k8s.io/v1"
)

const (
	onlyStatefulSets = "supd runs StatefulSets; a %s is not taken"
	onlyAPIClients   = "for programs that talk to Kubernetes' API, which isn't there"
	noSingleVolumes  = "directories are made for members, by volumeClaimTemplates"
)

// kubeKinds are the documents that manifests of stateful programs are made of.
var kubeKinds = []kubeKind{
	{spec.KubeAppsV1, spec.KindStatefulSet, taken, "below"},
	{spec.KubeCoreV1, spec.KindService, taken, "as a name of the ready members, below"},
	{spec.KubeCoreV1, kindConfigMap, taken, "as files and variables of the sets of the same files, below"},
	{kubePolicyV1, kindBudget, taken, "as a check of the set of the same files, below"},
	{spec.KubeCoreV1, "Secret", refused, "the cluster keeps no secrets: on each node write the value of KEY to /etc/supd/secrets/NAME/KEY (root's, mode 0600), where secretKeyRef finds it, and take this document out"},
	{spec.KubeCoreV1, "Namespace", ignored, "a namespace is there as soon as something is in it"},
	{spec.KubeCoreV1, "ServiceAccount", ignored, onlyAPIClients},
	{kubeRBACV1, "Role", ignored, onlyAPIClients},
	{kubeRBACV1, "RoleBinding", ignored, onlyAPIClients},
	{kubeRBACV1, "ClusterRole", ignored, onlyAPIClients},
	{kubeRBACV1, "ClusterRoleBinding", ignored, onlyAPIClients},
	{kubeStorageV1, "StorageClass", ignored, "directories are the node's own, whatever class a claim names"},
	{kubeSchedulingV1, "PriorityClass", ignored, "nobody is stopped to make room for another"},
	{spec.KubeCoreV1, "PersistentVolumeClaim", refused, noSingleVolumes},
	{spec.KubeCoreV1, "PersistentVolume", refused, noSingleVolumes},
	{kubeNetworkV1, "NetworkPolicy", refused, "traffic is not filtered here; passing over it would open what it closes"},
	{kubeNetworkV1, "Ingress", refused, "nothing is let in from outside here: clients use the members' names"},
	{kubeScalingV2, "HorizontalPodAutoscaler", refused, "sets are scaled by people: supctl scale"},
	{spec.KubeCoreV1, "Pod", refused, onlyStatefulSets},
	{spec.KubeAppsV1, "Deployment", refused, onlyStatefulSets},
	{spec.KubeAppsV1, "DaemonSet", refused, onlyStatefulSets},
	{spec.KubeAppsV1, "ReplicaSet", refused, onlyStatefulSets},
	{kubeBatchV1, "Job", refused, onlyStatefulSets},
	{kubeBatchV1, "CronJob", refused, onlyStatefulSets},
}

// isKubeKind tells whether a kind is of Kubernetes and none of ours.
func isKubeKind(kind string) bool {
	return !slices.Contains(appliedKinds, kind) && slices.ContainsFunc(kubeKinds, func(k kubeKind) bool { return k.kind == kind })
}

// kubeVersions are the API versions of the table, each once.
func kubeVersions() []string {
	var out []string
	for _, k := range kubeKinds {
		if !slices.Contains(out, k.version) {
			out = append(out, k.version)
		}
	}
	return out
}

// takenVersions are those of documents that are taken, for messages.
func takenVersions() []string {
	var out []string
	for _, k := range kubeKinds {
		if k.is == taken && !slices.Contains(out, k.version) {
			out = append(out, k.version)
		}
	}
	return out
}

const (
	noFinalizers = "finalizers are " + notYet
	madeByServer = "filled in by Kubernetes' server"
)

// serverMeta are fields of metadata that no manifest needs to hold.
func serverMeta(f ...kubeField) []kubeField {
	for _, name := range []string{
		"uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields",
		"deletionTimestamp", "deletionGracePeriodSeconds",
	} {
		f = append(f, kubeField{name, silent, madeByServer})
	}
	return f
}

var kubeSetTypes = []kubeType{
	{"StatefulSet", "", "the document", []kubeField{
		{"apiVersion", taken, ""},
		{"kind", taken, ""},
		{"metadata", taken, ""},
		{"spec", taken, ""},
		{"status", silent, madeByServer},
	}},
	{"ObjectMeta", "", "metadata", serverMeta(
		kubeField{"name", taken, "metadata.name"},
		kubeField{"namespace", taken, "metadata.namespace"},
		kubeField{"labels", taken, "metadata.labels"},
		kubeField{"annotations", taken, "metadata.annotations"},
		kubeField{"generateName", refused, "names cannot be generated; give one"},
		kubeField{"ownerReferences", refused, "owners are " + notYet},
		kubeField{"finalizers", refused, noFinalizers},
	)},
	{"StatefulSetSpec", "", "spec", []kubeField{
		{"replicas", taken, "replicas"},
		{"serviceName", taken, "serviceName"},
		{"podManagementPolicy", taken, "podManagementPolicy"},
		{"updateStrategy", taken, "updateStrategy"},
		{"minReadySeconds", taken, "minReady"},
		{"revisionHistoryLimit", taken, "revisionHistoryLimit"},
		{"ordinals", taken, "ordinals"},
		{"persistentVolumeClaimRetentionPolicy", taken, "volumeRetention"},
		{"selector", taken, "must match the template's labels; who a set's members are its name says"},
		{"template", taken, "processes, init, scratch, placement"},
		{"volumeClaimTemplates", taken, "volumes: one directory per member each"},
	}},
	{"StatefulSetUpdateStrategy", "", "spec.updateStrategy", []kubeField{
		{"type", taken, "updateStrategy.type"},
		{"rollingUpdate", taken, "updateStrategy.rollingUpdate"},
	}},
	{"RollingUpdateStatefulSetStrategy", "", "spec.updateStrategy.rollingUpdate", []kubeField{
		{"partition", taken, "partition"},
		{"maxUnavailable", taken, "maxUnavailable, the one budget for all voluntary downtime"},
	}},
	{"StatefulSetOrdinals", "", "spec.ordinals", []kubeField{
		{"start", taken, "ordinals.start"},
	}},
	{"StatefulSetPersistentVolumeClaimRetentionPolicy", "", "spec.persistentVolumeClaimRetentionPolicy", []kubeField{
		{"whenScaled", taken, "volumeRetention.whenScaled"},
		{"whenDeleted", taken, "volumeRetention.whenDeleted"},
	}},
	{"LabelSelector", "", "spec.selector", []kubeField{
		{"matchLabels", taken, "checked against the template's labels"},
		{"matchExpressions", taken, "checked against the template's labels"},
	}},
	{"LabelSelectorRequirement", "", "spec.selector.matchExpressions[]", []kubeField{
		{"key", taken, ""},
		{"operator", taken, "In, NotIn, Exists, DoesNotExist"},
		{"values", taken, ""},
	}},
	{"PersistentVolumeClaim", "", "spec.volumeClaimTemplates[]", []kubeField{
		{"apiVersion", silent, "it can be one thing only"},
		{"kind", silent, "it can be one thing only"},
		{"metadata", taken, ""},
		{"spec", taken, ""},
		{"status", silent, madeByServer},
	}},
	{"ClaimMeta", "ObjectMeta", "spec.volumeClaimTemplates[].metadata", serverMeta(
		kubeField{"name", taken, "volumes[].name"},
		kubeField{"namespace", silent, "the set's"},
		kubeField{"labels", ignored, "volumes have no labels"},
		kubeField{"annotations", ignored, "volumes have no annotations"},
		kubeField{"generateName", refused, "names cannot be generated; give one"},
		kubeField{"ownerReferences", refused, "owners are " + notYet},
		kubeField{"finalizers", refused, noFinalizers},
	)},
	{"PersistentVolumeClaimSpec", "", "spec.volumeClaimTemplates[].spec", []kubeField{
		{"resources", taken, ""},
		{"accessModes", taken, "ReadWriteOnce and ReadWriteOncePod: a directory belongs to one member; others are refused"},
		{"volumeMode", taken, "Filesystem; Block is refused"},
		{"storageClassName", ignored, "directories are the node's own"},
		{"volumeAttributesClassName", ignored, "directories are the node's own"},
		{"selector", refused, "choosing an existing volume is " + notYet},
		{"volumeName", refused, "choosing an existing volume is " + notYet},
		{"dataSource", refused, "filling a volume from another is " + notYet},
		{"dataSourceRef", refused, "filling a volume from another is " + notYet},
	}},
	{"VolumeResourceRequirements", "", "spec.volumeClaimTemplates[].spec.resources", []kubeField{
		{"requests", taken, "requests.storage is volumes[].size"},
		{"limits", refused, "limits on a directory are " + notYet},
	}},
}

const fromOutside = "addresses from outside are " + notYet

var kubeServiceTypes = []kubeType{
	{"Service", "", "the document", []kubeField{
		{"apiVersion", taken, ""},
		{"kind", taken, ""},
		{"metadata", taken, ""},
		{"spec", taken, ""},
		{"status", silent, madeByServer},
	}},
	{"ServiceSpec", "", "spec", []kubeField{
		{"clusterIP", taken, "None; left out, with a warning: no proxy holds an address, the name leads to the ready members' own; an address is refused"},
		{"publishNotReadyAddresses", taken, "publishNotReadyAddresses"},
		{"selector", taken, "of a service that is no set's serviceName: supd/set, the one set of the same files whose members it selects; else it says nothing, the members are those of the sets that name it"},
		{"ports", taken, "ports, for SRV records"},
		{"type", taken, "ClusterIP; NodePort, LoadBalancer and ExternalName are refused"},
		{"clusterIPs", silent, "clusterIP again"},
		{"internalTrafficPolicy", ignored, "names give the members' own addresses"},
		{"ipFamilies", ignored, "the address plan of the cluster decides"},
		{"ipFamilyPolicy", ignored, "the address plan of the cluster decides"},
		{"sessionAffinity", ignored, "names give the members' own addresses"},
		{"sessionAffinityConfig", ignored, "names give the members' own addresses"},
		{"trafficDistribution", ignored, "names give the members' own addresses"},
		{"allocateLoadBalancerNodePorts", silent, "services of type LoadBalancer are refused as a whole"},
		{"externalIPs", refused, fromOutside},
		{"externalName", refused, fromOutside},
		{"externalTrafficPolicy", refused, fromOutside},
		{"loadBalancerIP", refused, fromOutside},
		{"loadBalancerClass", refused, fromOutside},
		{"loadBalancerSourceRanges", refused, fromOutside},
		{"healthCheckNodePort", refused, fromOutside},
	}},
	{"ServicePort", "", "spec.ports[]", []kubeField{
		{"name", taken, "ports[].name"},
		{"port", taken, "ports[].port"},
		{"protocol", taken, "ports[].protocol"},
		{"targetPort", taken, "the same number as port, for nothing is forwarded; or a name, of a port of that number where the service is not headless"},
		{"appProtocol", ignored, "nothing looks into what is spoken"},
		{"nodePort", refused, "node ports are " + notYet},
	}},
	{"PodDisruptionBudget", "", "the document", []kubeField{
		{"apiVersion", taken, ""},
		{"kind", taken, ""},
		{"metadata", taken, ""},
		{"spec", taken, ""},
		{"status", silent, madeByServer},
	}},
	{"PodDisruptionBudgetSpec", "", "spec", []kubeField{
		{"selector", taken, "must select the members of a StatefulSet of the same files"},
		{"maxUnavailable", taken, "at least the set's own budget, updateStrategy.rollingUpdate.maxUnavailable, or it is refused"},
		{"minAvailable", taken, "at most what the set's own budget leaves available, or it is refused"},
		{"unhealthyPodEvictionPolicy", ignored, "who is unhealthy counts against the budget, always"},
	}},
}
