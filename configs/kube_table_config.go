package configs

const noTokens = "there are no tokens and certificates of Kubernetes'"

// mapRefFields are those by which a ConfigMap is named.
func mapRefFields(f ...kubeField) []kubeField {
	return append([]kubeField{
		{"name", taken, "a ConfigMap of the same files and namespace"},
		{"optional", taken, "what is not there is left out, with a warning"},
	}, f...)
}

const (
	itemsAsFiles = "the files; all keys without it"
	modeOfFiles  = "files[].mode; 0644 without it"
)

var kubeConfigTypes = []kubeType{
	{kindConfigMap, "", "the document", []kubeField{
		{"apiVersion", taken, ""},
		{"kind", taken, ""},
		{"metadata", taken, "name and namespace; nothing is stored of a ConfigMap but what sets use of it"},
		{"data", taken, "texts, literally: no templates"},
		{"binaryData", taken, "as files, where it is text; else refused"},
		{"immutable", silent, "a changed text is another template in any case, and is rolled out"},
	}},
	{"ConfigMapVolumeSource", "", "spec.template.spec.volumes[].configMap", mapRefFields(
		kubeField{"items", taken, itemsAsFiles},
		kubeField{"defaultMode", taken, modeOfFiles},
	)},
	{"KeyToPath", "", "...items[]", []kubeField{
		{"key", taken, "files[].content"},
		{"path", taken, "files[].path"},
		{"mode", taken, "files[].mode"},
	}},
	{"ProjectedVolumeSource", "", "spec.template.spec.volumes[].projected", []kubeField{
		{"sources", taken, ""},
		{"defaultMode", taken, modeOfFiles},
	}},
	{"VolumeProjection", "", "...projected.sources[]", []kubeField{
		{"configMap", taken, "as in a volume of its own"},
		{"downwardAPI", taken, "as in a volume of its own"},
		{"secret", refused, "files of Secrets are " + notYet + secretFiles},
		{"serviceAccountToken", refused, noTokens},
		{"clusterTrustBundle", refused, noTokens},
		{"podCertificate", refused, noTokens},
	}},
	{"ConfigMapProjection", "", "...projected.sources[].configMap", mapRefFields(
		kubeField{"items", taken, itemsAsFiles},
	)},
	{"DownwardAPIVolumeSource", "", "spec.template.spec.volumes[].downwardAPI", []kubeField{
		{"items", taken, "the files"},
		{"defaultMode", taken, modeOfFiles},
	}},
	{"DownwardAPIProjection", "", "...projected.sources[].downwardAPI", []kubeField{
		{"items", taken, "the files"},
	}},
	{"DownwardAPIVolumeFile", "", "...downwardAPI.items[]", []kubeField{
		{"path", taken, "files[].path"},
		{"mode", taken, "files[].mode"},
		{"fieldRef", taken, "files[].content, a template; metadata.labels and metadata.annotations as a whole too"},
		{"resourceFieldRef", refused, "resourceFieldRef is " + notYet},
	}},
	{"EnvFromSource", "", "...containers[].envFrom[]", []kubeField{
		{"configMapRef", taken, "env, a variable for each key of data"},
		{"prefix", taken, "before each name"},
		{"secretRef", refused, "variables of a whole Secret are " + notYet + ": list them in env, each with secretKeyRef"},
	}},
	{"ConfigMapEnvSource", "", "...envFrom[].configMapRef", mapRefFields()},
	{"ConfigMapKeySelector", "", "...env[].valueFrom.configMapKeyRef", mapRefFields(
		kubeField{"key", taken, ""},
	)},
}
