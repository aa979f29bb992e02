package configs

import "strings"

// kubeValues are values for fields, by type and name or by name alone, that mean
// something other than leaving them out.
var kubeValues = map[string]string{
	"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "namespace": "x", "generateName": "x", "status": "{replicas: 1}",
	"labels": "{app: x}", "annotations": "{a: b}",
	"replicas": "3", "serviceName": "x", "podManagementPolicy": "Parallel", "minReadySeconds": "5", "revisionHistoryLimit": "3",
	"ordinals": "{start: 1}", "start": "1", "persistentVolumeClaimRetentionPolicy": "{whenScaled: Delete}",
	"whenScaled": "Delete", "whenDeleted": "Delete", "updateStrategy": "{type: OnDelete}", "type": "OnDelete",
	"rollingUpdate": "{partition: 1}", "partition": "1", "maxUnavailable": "1", "minAvailable": "2",
	"ServiceSpec.type": "ClusterIP", "clusterIP": "None", "publishNotReadyAddresses": "true", "ServiceSpec.ports": "[{port: 80, name: x}]",
	"ServiceSpec.selector": "{app: x}", "targetPort": "80", "ServicePort.port": "80", "protocol": "TCP",
	"selector": "{matchLabels: {app: x}}", "matchLabels": "{app: x}", "matchExpressions": "[{key: app, operator: Exists}]",
	"LabelSelectorRequirement.key": "app", "operator": "In", "values": "[x]",
	"labelSelector":                       "{matchLabels: {app: x}}",
	"PersistentVolumeClaimSpec.resources": "{requests: {storage: 1Gi}}", "VolumeResourceRequirements.requests": "{storage: 1Gi}",
	"accessModes": "[ReadWriteOnce]", "volumeMode": "Filesystem", "storageClassName": "x", "volumeAttributesClassName": "x",
	"volumeClaimTemplates": "[{metadata: {name: v}, spec: {resources: {requests: {storage: 1Gi}}}}]", "volumeName": "x",
	"containers": "[{name: y, image: y}]", "initContainers": "[{name: y, image: y}]", "volumes": "[{name: y, emptyDir: {}}]",
	"terminationGracePeriodSeconds": "5", "activeDeadlineSeconds": "5", "securityContext": "{runAsUser: 8}", "nodeSelector": "{disk: ssd}",
	"topologySpreadConstraints": "[{topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]", "topologyKey": "kubernetes.io/hostname",
	"whenUnsatisfiable": "ScheduleAnyway", "affinity": "{podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]}}", "podAntiAffinity": "{}", "podAffinity": "{}", "nodeAffinity": "{}",
	"requiredDuringSchedulingIgnoredDuringExecution": "[{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: x}}}]",
	"hostNetwork": "true", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "os": "{name: linux}", "PodOS.name": "linux", "hostUsers": "true",
	"runAsUser": "8", "runAsGroup": "7", "runAsNonRoot": "true", "supplementalGroups": "[7]", "fsGroup": "7",
	"emptyDir": "{}", "medium": "Memory", "image": "x", "command": "[x]", "args": "[x]",
	"env": "[{name: A, value: b}]", "workingDir": "/x", "volumeMounts": "[{name: scratch, mountPath: /y}]", "Container.ports": "[{containerPort: 81}]",
	"resources": "{limits: {cpu: 1}}", "InitContainer.resources": "{}", "ResourceRequirements.limits": "{cpu: 1}",
	"startupProbe": "{tcpSocket: {port: 80}}", "readinessProbe": "{tcpSocket: {port: 80}}", "livenessProbe": "{tcpSocket: {port: 80}}",
	"InitContainer.restartPolicy": "Always", "Container.restartPolicy": "Always",
	"lifecycle": "{stopSignal: SIGINT}", "containerPort": "81", "hostPort": "81", "EnvVar.name": "A", "value": "b",
	"valueFrom": "{fieldRef: {fieldPath: metadata.name}}", "fieldRef": "{fieldPath: metadata.name}", "fieldPath": "metadata.name",
	"ObjectFieldSelector.apiVersion": "v1", "secretKeyRef": "{name: x, key: y}", "SecretKeySelector.key": "y", "optional": "true",
	"configMap": "{name: x}", "projected": "{sources: [{configMap: {name: x}}]}", "sources": "[{configMap: {name: x}}]",
	"downwardAPI": "{items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}", "defaultMode": "0600", "items": "[{key: k, path: p}]",
	"key": "k", "KeyToPath.path": "p", "mode": "0600", "DownwardAPIVolumeFile.path": "p",
	"DownwardAPIVolumeSource.items": "[{path: p, fieldRef: {fieldPath: metadata.name}}]", "DownwardAPIProjection.items": "[{path: p, fieldRef: {fieldPath: metadata.name}}]",
	"configMapRef": "{name: x}", "prefix": "P_", "envFrom": "[{configMapRef: {name: x}}]", "configMapKeyRef": "{name: x, key: k}",
	"ConfigMap.apiVersion": "v1", "ConfigMap.kind": "ConfigMap", "ConfigMap.metadata": "{name: y}", "data": "{other: text}", "binaryData": "{more: YQ==}", "immutable": "true",
	"VolumeMount.name": "scratch", "mountPath": "/y", "subPath": "y", "readOnly": "true", "mountPropagation": "None",
	"allowPrivilegeEscalation": "true", "readOnlyRootFilesystem": "true", "capabilities": "{add: [IPC_LOCK]}", "add": "[IPC_LOCK]", "drop": "[ALL]", "Capabilities.drop": "[IPC_LOCK]",
	"privileged": "true", "postStart": "{exec: {command: [x]}}", "preStop": "{exec: {command: [x]}}", "sleep": "{seconds: 5}", "seconds": "5", "stopSignal": "SIGINT",
	"exec": "{command: [x]}", "httpGet": "{port: 80}", "tcpSocket": "{port: 80}", "grpc": "{port: 80}",
	"initialDelaySeconds": "5", "periodSeconds": "5", "timeoutSeconds": "5", "successThreshold": "1", "failureThreshold": "5",
	"path": "/", "port": "80", "host": "x", "scheme": "HTTPS", "httpHeaders": "[{name: a, value: b}]", "service": "x",
	"PodDisruptionBudget.apiVersion": "policy/v1", "PodDisruptionBudget.kind": "PodDisruptionBudget",
	"Service.apiVersion": "v1", "Service.kind": "Service", "Service.spec": "{clusterIP: None}",
	"StatefulSet.spec":         "{selector: {matchLabels: {app: x}}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: y, image: y}]}}}",
	"PodDisruptionBudget.spec": "{maxUnavailable: 1, selector: {matchLabels: {app: x}}}",
	"StatefulSetSpec.template": "{metadata: {labels: {app: x}}, spec: {containers: [{name: y, image: y}]}}",
	"metadata":                 "{name: x}", "TemplateMeta.metadata": "{labels: {app: x}}", "PodTemplateSpec.metadata": "{labels: {app: x}}",
	"PodTemplateSpec.spec":       "{containers: [{name: y, image: y}]}",
	"PersistentVolumeClaim.spec": "{resources: {requests: {storage: 1Gi}}}", "PersistentVolumeClaim.kind": "PersistentVolumeClaim", "PersistentVolumeClaim.apiVersion": "v1",
}

// fill puts a field, "name: value", into an object in flow style that may have the field
// already; "-name" takes it out.
func fill(object, field string) string {
	name, gone := strings.CutPrefix(field, "-")
	name, _, _ = strings.Cut(name, ":")
	var kept []string
	for _, f := range strings.Split(object, "; ") {
		if n, _, _ := strings.Cut(f, ":"); f != "" && n != name {
			kept = append(kept, f)
		}
	}
	if !gone {
		kept = append(kept, field)
	}
	return "{" + strings.Join(kept, ", ") + "}"
}

// place is a manifest with an object in which fields are tried: object stands for @ in it.
func place(manifest, object string) func(field string) string {
	return func(field string) string { return strings.Replace(manifest, "@", fill(object, field), 1) }
}

const (
	kubeSetHead = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x}\n"
	kubeLabels  = "selector: {matchLabels: {app: x}}"
	kubeMeta    = "metadata: {labels: {app: x}}"
	kubeProcess = "name: x; image: x; command: [x]; ports: [{containerPort: 80}]"
	kubePod     = "spec: {" + kubeLabels + ", template: {" + kubeMeta + ", spec: {securityContext: {runAsUser: 7}, volumes: [{name: scratch, emptyDir: {}}], "
	kubeMain    = "containers: [{name: x, image: x, command: [x], ports: [{containerPort: 80}]"
)

// inSet, inPod, inContainer: an object somewhere in a set.
func inSet(text, object string) func(string) string {
	return place(kubeSetHead+"spec: {"+kubeLabels+", template: {"+kubeMeta+", spec: {"+kubeMain+"}]}}, "+text+"}\n", object)
}

func inPod(text, object string) func(string) string {
	return place(kubeSetHead+kubePod+kubeMain+"}], "+text+"}}}\n", object)
}

func inContainer(text, object string) func(string) string {
	return place(kubeSetHead+kubePod+kubeMain+", "+text+"}]}}}\n", object)
}

// inVolume is an object in a volume of the pod, which has a scratch directory too.
func inVolume(source, object string) func(string) string {
	pod := strings.Replace(kubePod, "emptyDir: {}}]", "emptyDir: {}}, {name: c, "+source+"}]", 1)
	return place(kubeSetHead+pod+kubeMain+"}]}}}\n", object)
}

// kubeMap stands behind every manifest, for those that name a ConfigMap.
const kubeMap = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {k: v}\n"

// kubePlaces are manifests to try each type's fields in.
var kubePlaces = map[string]func(field string) string{
	"StatefulSet": kubeWhole("apiVersion: apps/v1; kind: StatefulSet; metadata: {name: x}; spec: {" + kubeLabels + ", template: {" + kubeMeta + ", spec: {" + kubeMain + "}]}}}"),
	"ObjectMeta":  place("apiVersion: apps/v1\nkind: StatefulSet\nmetadata: @\nspec: {"+kubeLabels+", template: {"+kubeMeta+", spec: {"+kubeMain+"}]}}}\n", "name: x"),
	"StatefulSetSpec": place(kubeSetHead+"spec: @\n",
		kubeLabels+"; template: {"+kubeMeta+", spec: {"+kubeMain+"}]}}"),
	"StatefulSetUpdateStrategy":                       inSet("updateStrategy: @", ""),
	"RollingUpdateStatefulSetStrategy":                inSet("updateStrategy: {rollingUpdate: @}", ""),
	"StatefulSetOrdinals":                             inSet("ordinals: @", ""),
	"StatefulSetPersistentVolumeClaimRetentionPolicy": inSet("persistentVolumeClaimRetentionPolicy: @", ""),
	"LabelSelector":                                   place(kubeSetHead+"spec: {selector: @, template: {"+kubeMeta+", spec: {"+kubeMain+"}]}}}\n", ""),
	"LabelSelectorRequirement":                        place(kubeSetHead+"spec: {selector: {matchExpressions: [@]}, template: {"+kubeMeta+", spec: {"+kubeMain+"}]}}}\n", "key: app; operator: In; values: [x]"),
	"PersistentVolumeClaim":                           inSet("volumeClaimTemplates: [@]", "metadata: {name: x}"),
	"ClaimMeta":                                       inSet("volumeClaimTemplates: [{metadata: @}]", "name: x"),
	"PersistentVolumeClaimSpec":                       inSet("volumeClaimTemplates: [{metadata: {name: x}, spec: @}]", ""),
	"VolumeResourceRequirements":                      inSet("volumeClaimTemplates: [{metadata: {name: x}, spec: {resources: @}}]", ""),

	"PodTemplateSpec":          place(kubeSetHead+"spec: {"+kubeLabels+", template: @}\n", kubeMeta+"; spec: {"+kubeMain+"}]}"),
	"TemplateMeta":             place(kubeSetHead+"spec: {"+kubeLabels+", template: {metadata: @, spec: {"+kubeMain+"}]}}}\n", "labels: {app: x}"),
	"PodSpec":                  place(kubeSetHead+"spec: {"+kubeLabels+", template: {"+kubeMeta+", spec: @}}\n", kubeMain+"}]"),
	"PodSecurityContext":       place(kubeSetHead+"spec: {"+kubeLabels+", template: {"+kubeMeta+", spec: {securityContext: @, "+kubeMain+"}]}}}\n", "runAsUser: 7"),
	"PodOS":                    inPod("os: @", ""),
	"TopologySpreadConstraint": inPod("topologySpreadConstraints: [@]", "topologyKey: zone"),
	"Affinity":                 inPod("affinity: @", ""),
	"NodeAffinity":             inPod("affinity: {nodeAffinity: @}", ""),
	"PodAffinity":              inPod("affinity: {podAffinity: @}", ""),
	"PodAntiAffinity":          inPod("affinity: {podAntiAffinity: @}", ""),
	"PodAffinityTerm": inPod("affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [@]}}",
		"topologyKey: kubernetes.io/hostname; labelSelector: {matchLabels: {app: x}}"),
	"Volume": kubeVolume,
	"ConfigMap": func(field string) string {
		return inVolume("configMap: {name: y}", "")("") + "---\n" + kubeWhole("apiVersion: v1; kind: ConfigMap; metadata: {name: y}; data: {k: v}")(field)
	},
	"ConfigMapVolumeSource":   inVolume("configMap: @", "name: x"),
	"KeyToPath":               inVolume("configMap: {name: x, items: [@]}", "key: k; path: q"),
	"ProjectedVolumeSource":   inVolume("projected: @", "sources: [{configMap: {name: x}}]"),
	"VolumeProjection":        inVolume("projected: {sources: [@]}", ""),
	"ConfigMapProjection":     inVolume("projected: {sources: [{configMap: @}]}", "name: x"),
	"DownwardAPIVolumeSource": inVolume("downwardAPI: @", "items: [{path: q, fieldRef: {fieldPath: metadata.name}}]"),
	"DownwardAPIProjection":   inVolume("projected: {sources: [{downwardAPI: @}]}", ""),
	"DownwardAPIVolumeFile":   inVolume("downwardAPI: {items: [@]}", "path: q; fieldRef: {fieldPath: metadata.namespace}"),
	"EmptyDirVolumeSource":    place(kubeSetHead+"spec: {"+kubeLabels+", template: {"+kubeMeta+", spec: {volumes: [{name: y, emptyDir: @}], "+kubeMain+"}]}}}\n", ""),

	"Container":            place(kubeSetHead+kubePod+"containers: [@]}}}\n", kubeProcess),
	"InitContainer":        inPod("initContainers: [@]", "name: y; image: y"),
	"ContainerPort":        place(kubeSetHead+kubePod+"containers: [{name: x, image: x, ports: [@]}]}}}\n", "containerPort: 81"),
	"EnvVar":               inContainer("env: [@]", "name: A"),
	"EnvVarSource":         inContainer("env: [{name: A, valueFrom: @}]", ""),
	"EnvFromSource":        inContainer("envFrom: [@]", "configMapRef: {name: x}"),
	"ConfigMapEnvSource":   inContainer("envFrom: [{configMapRef: @}]", "name: x"),
	"ConfigMapKeySelector": inContainer("env: [{name: A, valueFrom: {configMapKeyRef: @}}]", "name: x; key: k"),
	"ObjectFieldSelector":  inContainer("env: [{name: A, valueFrom: {fieldRef: @}}]", "fieldPath: metadata.name"),
	"SecretKeySelector":    inContainer("env: [{name: A, valueFrom: {secretKeyRef: @}}]", "name: x; key: y"),
	"VolumeMount":          inContainer("volumeMounts: [@]", "name: scratch; mountPath: /y"),
	"ResourceRequirements": inContainer("resources: @", ""),
	"InitResources":        inPod("initContainers: [{name: y, image: y, resources: @}]", ""),
	"SecurityContext":      inContainer("securityContext: @", "runAsUser: 7"),
	"Capabilities":         inContainer("securityContext: {capabilities: @}", "add: [IPC_LOCK]"),
	"Lifecycle":            inContainer("lifecycle: @", ""),
	"LifecycleHandler":     inContainer("lifecycle: {preStop: @}", ""),
	"Probe":                kubeProbe,
	"SleepAction":          inContainer("lifecycle: {preStop: {sleep: @}}", ""),
	"ExecAction":           inContainer("readinessProbe: {exec: @}", ""),
	"HTTPGetAction":        inContainer("readinessProbe: {httpGet: @}", "port: 80"),
	"HTTPHeader":           inContainer("readinessProbe: {httpGet: {port: 80, httpHeaders: [@]}}", "name: a; value: b"),
	"TCPSocketAction":      inContainer("readinessProbe: {tcpSocket: @}", "port: 80"),
	"GRPCAction":           inContainer("readinessProbe: {grpc: @}", "port: 80"),

	"Service":     kubeWhole("apiVersion: v1; kind: Service; metadata: {name: x}; spec: {clusterIP: None}"),
	"ServiceSpec": place("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: @\n", "clusterIP: None"),
	"ServicePort": place("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: None, ports: [@]}\n", "name: x; port: 80"),
	"PodDisruptionBudget": func(field string) string {
		return kubeBudgeted + "---\n" + kubeWhole("apiVersion: policy/v1; kind: PodDisruptionBudget; metadata: {name: x}; spec: {maxUnavailable: 1, selector: {matchLabels: {app: x}}}")(field)
	},
	"PodDisruptionBudgetSpec": func(field string) string {
		object := "maxUnavailable: 1; selector: {matchLabels: {app: x}}"
		if strings.HasPrefix(field, "minAvailable") {
			object = "selector: {matchLabels: {app: x}}"
		}
		return kubeBudgeted + place("---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\nspec: @\n", object)(field)
	},
}

const kubeBudgeted = kubeSetHead + "spec: {replicas: 3, " + kubeLabels + ", template: {" + kubeMeta + ", spec: {" + kubeMain + "}]}}}\n"

// kubeWhole tries the fields of a whole document.
func kubeWhole(object string) func(string) string { return place("@\n", object) }

// kubeVolume: a volume has one source.
func kubeVolume(field string) string {
	object := "name: y"
	if strings.HasPrefix(field, "name:") {
		object = "emptyDir: {}"
	}
	return place(kubeSetHead+"spec: {"+kubeLabels+", template: {"+kubeMeta+", spec: {volumes: [@], "+kubeMain+"}]}}}\n", object)(field)
}

// kubeProbe: a probe asks in one way; one of liveness may have a grace period.
func kubeProbe(field string) string {
	object := "tcpSocket: {port: 80}"
	for _, kind := range []string{"exec", "httpGet", "grpc"} {
		if strings.HasPrefix(field, kind+":") {
			object = ""
		}
	}
	return inContainer("livenessProbe: @", object)(field)
}
