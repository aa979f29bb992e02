package configs

const (
	imagesOnly      = "there are no images"
	kubernetesOnly  = "Kubernetes' scheduler only"
	accountsOnly    = "for programs that talk to Kubernetes' API, which isn't there"
	confinement     = "the profile is the container runtime's; nothing of it holds here"
	hostNamespaces  = "sharing the host's namespaces is " + notYet
	namesAndResolve = "settings of names and resolvers are " + notYet
	wholePod        = "resources of a whole pod are " + notYet
	noWindows       = "Windows is not supported"
	noTerminal      = "members have no terminal"
	secretFiles     = "; a Program's `files` take fromFile: /etc/supd/secrets/NAME/KEY"
)

var kubePodTypes = []kubeType{
	{"PodTemplateSpec", "", "spec.template", []kubeField{
		{"metadata", taken, ""},
		{"spec", taken, ""},
	}},
	{"TemplateMeta", "ObjectMeta", "spec.template.metadata", serverMeta(
		kubeField{"labels", taken, "for the selector, affinity and fieldRef; members have the set's"},
		kubeField{"annotations", taken, "for fieldRef only"},
		kubeField{"name", ignored, "members are named by their set"},
		kubeField{"namespace", ignored, "the set's"},
		kubeField{"generateName", ignored, "members are named by their set"},
		kubeField{"ownerReferences", refused, "owners are " + notYet},
		kubeField{"finalizers", refused, noFinalizers},
	)},
	{"PodSpec", "", "spec.template.spec", []kubeField{
		{"containers", taken, "processes; the first is the main one"},
		{"initContainers", taken, "init"},
		{"volumes", taken, "scratch: empty (emptyDir), or with files (configMap, projected, downwardAPI)"},
		{"terminationGracePeriodSeconds", taken, "processes[].stop.timeout"},
		{"securityContext", taken, ""},
		{"nodeSelector", taken, "placement.nodeSelector"},
		{"topologySpreadConstraints", taken, "placement.spread"},
		{"affinity", taken, ""},
		{"hostNetwork", taken, "network.mode: Node"},
		{"restartPolicy", taken, "Always; others are refused"},
		{"dnsPolicy", taken, "ClusterFirst; others are refused"},
		{"os", taken, "linux; others are refused"},
		{"hostUsers", taken, "true; a user namespace (false) is refused"},
		{"hostPID", silent, "members see the host's processes in any case"},
		{"serviceAccountName", ignored, accountsOnly},
		{"serviceAccount", ignored, accountsOnly},
		{"automountServiceAccountToken", ignored, accountsOnly},
		{"imagePullSecrets", ignored, imagesOnly},
		{"schedulerName", ignored, kubernetesOnly},
		{"schedulingGates", ignored, kubernetesOnly},
		{"schedulingGroup", ignored, kubernetesOnly},
		{"tolerations", ignored, "nodes have no taints: cordon and nodeSelector"},
		{"priority", ignored, "nobody is stopped to make room for another"},
		{"priorityClassName", ignored, "nobody is stopped to make room for another"},
		{"preemptionPolicy", ignored, "nobody is stopped to make room for another"},
		{"readinessGates", ignored, "set by controllers of Kubernetes only"},
		{"runtimeClassName", ignored, imagesOnly},
		{"overhead", ignored, imagesOnly},
		{"enableServiceLinks", ignored, "variables of other services are never set"},
		{"hostIPC", refused, hostNamespaces},
		{"shareProcessNamespace", refused, "members see the host's processes in any case; sharing among containers is " + notYet},
		{"dnsConfig", refused, namesAndResolve},
		{"hostAliases", refused, namesAndResolve},
		{"hostname", refused, namesAndResolve},
		{"hostnameOverride", refused, namesAndResolve},
		{"subdomain", refused, namesAndResolve},
		{"setHostnameAsFQDN", refused, namesAndResolve},
		{"nodeName", refused, "a member runs where the cluster places it; naming a node is " + notYet},
		{"activeDeadlineSeconds", refused, "a member runs until it is stopped; activeDeadlineSeconds is " + notYet},
		{"ephemeralContainers", refused, "ephemeral containers are " + notYet},
		{"resources", refused, wholePod},
		{"resourceClaims", refused, wholePod},
	}},
	{"PodSecurityContext", "", "spec.template.spec.securityContext", []kubeField{
		{"runAsUser", taken, "user of each process that has none of its own"},
		{"runAsGroup", taken, "group of each process that has none of its own"},
		{"runAsNonRoot", taken, "wants a runAsUser other than 0: images say nothing here"},
		{"supplementalGroups", taken, "supplementaryGroups"},
		{"fsGroup", taken, "volumes[].owner and mode 2770, supplementaryGroups; wants a runAsUser here or of the first container"},
		{"fsGroupChangePolicy", ignored, "the owner of a directory is set when it is new"},
		{"supplementalGroupsPolicy", ignored, imagesOnly},
		{"seccompProfile", ignored, confinement},
		{"appArmorProfile", ignored, confinement},
		{"seLinuxOptions", ignored, confinement},
		{"seLinuxChangePolicy", ignored, confinement},
		{"sysctls", refused, "kernel settings are " + notYet},
		{"windowsOptions", refused, noWindows},
	}},
	{"PodOS", "", "spec.template.spec.os", []kubeField{{"name", taken, "linux"}}},
	{"TopologySpreadConstraint", "", "spec.template.spec.topologySpreadConstraints[]", []kubeField{
		{"topologyKey", taken, "placement.spread: kubernetes.io/hostname is node, topology.kubernetes.io/zone is zone; one key only"},
		{"whenUnsatisfiable", taken, "ScheduleAnyway; DoNotSchedule is refused"},
		{"labelSelector", silent, "the set's own members are spread"},
		{"matchLabelKeys", silent, "the set's own members are spread"},
		{"maxSkew", ignored, "spreading takes the place with the fewest members"},
		{"minDomains", ignored, "spreading takes the place with the fewest members"},
		{"nodeAffinityPolicy", ignored, "only nodes that the nodeSelector allows are looked at"},
		{"nodeTaintsPolicy", ignored, "nodes have no taints"},
	}},
	{"Affinity", "", "spec.template.spec.affinity", []kubeField{
		{"podAntiAffinity", taken, ""},
		{"podAffinity", taken, ""},
		{"nodeAffinity", taken, ""},
	}},
	{"NodeAffinity", "", "spec.template.spec.affinity.nodeAffinity", []kubeField{
		{"preferredDuringSchedulingIgnoredDuringExecution", ignored, "a preference: members are spread, nodes chosen by nodeSelector"},
		{"requiredDuringSchedulingIgnoredDuringExecution", refused, "node affinity is " + notYet + "; use nodeSelector"},
	}},
	{"PodAffinity", "", "spec.template.spec.affinity.podAffinity", []kubeField{
		{"preferredDuringSchedulingIgnoredDuringExecution", ignored, "a preference: sets are placed without a look at each other"},
		{"requiredDuringSchedulingIgnoredDuringExecution", refused, "affinity between sets is " + notYet},
	}},
	{"PodAntiAffinity", "", "spec.template.spec.affinity.podAntiAffinity", []kubeField{
		{"requiredDuringSchedulingIgnoredDuringExecution", taken, "placement.maxPerNode: 1, for members of this set by kubernetes.io/hostname; others are refused"},
		{"preferredDuringSchedulingIgnoredDuringExecution", ignored, "members are spread over nodes in any case"},
	}},
	{"PodAffinityTerm", "", "...podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[]", []kubeField{
		{"topologyKey", taken, "kubernetes.io/hostname"},
		{"labelSelector", taken, "must select the set's own members"},
		{"matchLabelKeys", silent, "narrows a selector that must be the set's own"},
		{"mismatchLabelKeys", silent, "narrows a selector that must be the set's own"},
		{"namespaces", refused, "other namespaces are " + notYet},
		{"namespaceSelector", refused, "other namespaces are " + notYet},
	}},
	{"Volume", "", "spec.template.spec.volumes[]", volumeSources()},
	{"EmptyDirVolumeSource", "", "spec.template.spec.volumes[].emptyDir", []kubeField{
		{"medium", taken, "kept on disk, with a warning, whatever it says"},
		{"sizeLimit", ignored, "nothing bounds the directory"},
	}},
}

// volumeSources: of all that a pod may mount, what is made anew at each start is there.
func volumeSources() []kubeField {
	out := []kubeField{
		{"name", taken, "scratch[].name"},
		{"emptyDir", taken, "scratch"},
		{"configMap", taken, "scratch, and files[] in it of the first process that mounts it, else of the main one; a Program's file at the same path wins"},
		{"projected", taken, "as configMap"},
		{"downwardAPI", taken, "as configMap"},
		{"secret", refused, "volumes of kind secret are " + notYet + secretFiles},
		{"hostPath", refused, "volumes of kind hostPath are " + notYet + "; members see the host's files at their own paths"},
		{"persistentVolumeClaim", refused, "volumes of kind persistentVolumeClaim are " + notYet + "; volumeClaimTemplates give each member its own"},
		{"ephemeral", refused, "volumes of kind ephemeral are " + notYet + "; an emptyDir lives as long"},
		{"image", refused, "volumes of kind image are " + notYet + ": " + imagesOnly},
	}
	for _, name := range []string{
		"nfs", "csi", "iscsi", "fc", "rbd", "cephfs", "glusterfs", "awsElasticBlockStore", "azureDisk", "azureFile", "cinder",
		"gcePersistentDisk", "vsphereVolume", "portworxVolume", "quobyte", "scaleIO", "storageos", "flocker", "flexVolume", "gitRepo",
		"photonPersistentDisk",
	} {
		out = append(out, kubeField{name, refused, "volumes of kind " + name + " are " + notYet})
	}
	return out
}

// containerFields are what containers of both kinds have alike.
func containerFields(f ...kubeField) []kubeField {
	return append(f, []kubeField{
		{"name", taken, "name"},
		{"image", taken, "image: the name of a Program"},
		{"command", taken, "command; $(VAR) of the container's variables"},
		{"args", taken, "args; $(VAR) of the container's variables"},
		{"env", taken, "env"},
		{"envFrom", taken, "env, before the container's own, which win"},
		{"workingDir", taken, "workingDir"},
		{"volumeMounts", taken, "mounts, private to the process"},
		{"resources", taken, ""},
		{"securityContext", taken, ""},
		{"imagePullPolicy", ignored, imagesOnly},
		{"terminationMessagePath", ignored, "the log tells"},
		{"terminationMessagePolicy", ignored, "the log tells"},
		{"resizePolicy", refused, "resizing in place is " + notYet},
		{"restartPolicyRules", refused, "rules for restarts are " + notYet},
		{"volumeDevices", refused, "block devices are " + notYet},
		{"stdin", refused, noTerminal},
		{"stdinOnce", refused, noTerminal},
		{"tty", refused, noTerminal},
	}...)
}

const noInitProbes = "init containers have no probes or hooks"

var kubeContainerTypes = []kubeType{
	{"Container", "", "spec.template.spec.containers[]", containerFields(
		kubeField{"ports", taken, "ports"},
		kubeField{"startupProbe", taken, "startup"},
		kubeField{"readinessProbe", taken, "readiness"},
		kubeField{"livenessProbe", taken, "liveness"},
		kubeField{"lifecycle", taken, ""},
		kubeField{"restartPolicy", refused, "a container's own restart policy is " + notYet},
	)},
	{"InitContainer", "Container", "spec.template.spec.initContainers[]", containerFields(
		kubeField{"ports", ignored, "nobody calls an init step"},
		kubeField{"startupProbe", refused, noInitProbes},
		kubeField{"readinessProbe", refused, noInitProbes},
		kubeField{"livenessProbe", refused, noInitProbes},
		kubeField{"lifecycle", refused, noInitProbes},
		kubeField{"restartPolicy", refused, "init containers that keep running are " + notYet},
	)},
	{"ContainerPort", "", "...containers[].ports[]", []kubeField{
		{"name", taken, "ports[].name; p3306 without one, or the Program's name for the number"},
		{"containerPort", taken, "ports[].port"},
		{"protocol", taken, "ports[].protocol"},
		{"hostPort", taken, "the same number as containerPort: a process listens where it listens"},
		{"hostIP", refused, "addresses of ports are " + notYet},
	}},
	{"EnvVar", "", "...env[]", []kubeField{
		{"name", taken, "env[].name"},
		{"value", taken, "env[].value; $(VAR) of variables above it"},
		{"valueFrom", taken, ""},
	}},
	{"EnvVarSource", "", "...env[].valueFrom", []kubeField{
		{"fieldRef", taken, "a template"},
		{"secretKeyRef", taken, "fromFile: /etc/supd/secrets/NAME/KEY, a file of the node"},
		{"configMapKeyRef", taken, "env[].value, literally"},
		{"resourceFieldRef", refused, "resourceFieldRef is " + notYet},
		{"fileKeyRef", refused, "fileKeyRef is " + notYet},
	}},
	{"ObjectFieldSelector", "", "...env[].valueFrom.fieldRef", []kubeField{
		{"fieldPath", taken, "metadata.name, .namespace, .labels['KEY'], .annotations['KEY'], spec.nodeName, status.podIP, .podIPs, .hostIP, .hostIPs"},
		{"apiVersion", silent, "it can be one thing only"},
	}},
	{"SecretKeySelector", "", "...env[].valueFrom.secretKeyRef", []kubeField{
		{"name", taken, "the directory below /etc/supd/secrets"},
		{"key", taken, "the file in it"},
		{"optional", refused, "secrets that may be missing are " + notYet},
	}},
	{"VolumeMount", "", "...volumeMounts[]", []kubeField{
		{"name", taken, "mounts[].volume"},
		{"mountPath", taken, "mounts[].mountPath"},
		{"subPath", taken, "mounts[].subPath"},
		{"readOnly", taken, "mounts[].readOnly; volumes of files are mounted so in any case"},
		{"mountPropagation", taken, "None; others are refused"},
		{"subPathExpr", refused, "subPathExpr is " + notYet},
		{"recursiveReadOnly", refused, "recursive read-only mounts are " + notYet},
	}},
	{"ResourceRequirements", "", "...containers[].resources", []kubeField{
		{"limits", taken, "limits.cpu and limits.memory; others are refused"},
		{"requests", ignored, "nothing is reserved"},
		{"claims", refused, "resource claims are " + notYet},
	}},
	{"InitResources", "ResourceRequirements", "...initContainers[].resources", []kubeField{
		{"requests", ignored, "nothing is reserved"},
		{"limits", refused, "limiting cpu and memory of an init container is " + notYet},
		{"claims", refused, "resource claims are " + notYet},
	}},
	{"SecurityContext", "", "...securityContext", []kubeField{
		{"runAsUser", taken, "user"},
		{"runAsGroup", taken, "group"},
		{"runAsNonRoot", taken, "wants a runAsUser other than 0: images say nothing here"},
		{"allowPrivilegeEscalation", taken, "noNewPrivileges"},
		{"readOnlyRootFilesystem", taken, "readOnlyPaths: [/]"},
		{"capabilities", taken, ""},
		{"seccompProfile", ignored, confinement},
		{"appArmorProfile", ignored, confinement},
		{"seLinuxOptions", ignored, confinement},
		{"procMount", ignored, confinement},
		{"privileged", refused, "privileged processes are " + notYet},
		{"windowsOptions", refused, noWindows},
	}},
	{"Capabilities", "", "...securityContext.capabilities", []kubeField{
		{"add", taken, "capabilities; wants a runAsUser, or drop: [ALL]; ALL is refused"},
		{"drop", taken, "root begins with what container runtimes leave it, others with none"},
	}},
	{"Lifecycle", "", "...containers[].lifecycle", []kubeField{
		{"postStart", taken, "hooks.postStart"},
		{"preStop", taken, "hooks.preStop"},
		{"stopSignal", taken, "stop.signal"},
	}},
	{"LifecycleHandler", "", "...lifecycle.postStart, preStop", []kubeField{
		{"exec", taken, "command"},
		{"httpGet", taken, "http; an answer of 400 or more is a failure here"},
		{"tcpSocket", refused, "hooks other than exec, httpGet and sleep are " + notYet},
		{"sleep", taken, "command /bin/sleep"},
	}},
	{"SleepAction", "", "...lifecycle.postStart, preStop.sleep", []kubeField{
		{"seconds", taken, "command"},
	}},
	{"Probe", "", "...startupProbe, readinessProbe, livenessProbe", []kubeField{
		{"exec", taken, "exec"},
		{"httpGet", taken, "http"},
		{"tcpSocket", taken, "tcp"},
		{"grpc", taken, "grpc"},
		{"initialDelaySeconds", taken, "initialDelay"},
		{"periodSeconds", taken, "period"},
		{"timeoutSeconds", taken, "timeout"},
		{"successThreshold", taken, "successThreshold"},
		{"failureThreshold", taken, "failureThreshold"},
		{"terminationGracePeriodSeconds", taken, "stopTimeout"},
	}},
	{"ExecAction", "", "...exec", []kubeField{{"command", taken, "argv; in probes with $(VAR) of the container's variables"}}},
	{"HTTPGetAction", "", "...httpGet", []kubeField{
		{"path", taken, "http.path"},
		{"port", taken, "http.port"},
		{"host", taken, "http.host"},
		{"scheme", taken, "http.scheme"},
		{"httpHeaders", taken, "http.headers, each name once"},
	}},
	{"HTTPHeader", "", "...httpGet.httpHeaders[]", []kubeField{
		{"name", taken, ""},
		{"value", taken, ""},
	}},
	{"TCPSocketAction", "", "...tcpSocket", []kubeField{
		{"port", taken, "tcp.port"},
		{"host", taken, "tcp.host"},
	}},
	{"GRPCAction", "", "...grpc", []kubeField{
		{"port", taken, "grpc.port"},
		{"service", taken, "grpc.service"},
	}},
}
