package jobpool

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/controller/credential"
)

const (
	// workerContainer is the container of the pod template that is completed.
	workerContainer = "worker"
	// uid is the user and group of the worker's image.
	uid int64 = 65532
	// httpPort serves /healthz, /readyz and /metrics.
	httpPort int32 = 8081
	// localPort serves the worker-local API to the endpoints of handlers, once a pool declares any.
	localPort int32 = 8082
	// secondBudgetSeconds is what a worker has, after its drain timeout, for handlers that were cancelled; marginSeconds
	// is for the flush of the last settlements and the exit.
	secondBudgetSeconds, marginSeconds = 5, 10

	databaseVolume, databasePath, databaseFile = "syncline-database", "/etc/syncline/database", "uri"
	sealingVolume, sealingPath, sealingFile    = "syncline-sealing", "/etc/syncline/sealing", "keyset.json"

	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelPart      = "app.kubernetes.io/part-of"
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "syncline"
	// LabelPool marks everything that belongs to a JobPool with its name.
	LabelPool = "syncline.dev/pool"
)

// Options is what the operator adds to every pool.
type Options struct {
	// Image is the default image of workers.
	Image string
	// PullPolicy is the default pull policy of that image; empty leaves it to the cluster.
	PullPolicy corev1.PullPolicy
}

// WorkloadName is the name of a pool's Deployment and ServiceAccount.
func WorkloadName(pool *v1alpha1.JobPool) string { return pool.Name + "-worker" }

// selectorLabels tell a pool's pods apart; they never change.
func selectorLabels(pool *v1alpha1.JobPool) map[string]string {
	return map[string]string{labelName: "syncline-worker", LabelPool: pool.Name}
}

// Selector is the selector of a pool's pods in string form.
func Selector(pool *v1alpha1.JobPool) string {
	return labels.SelectorFromSet(selectorLabels(pool)).String()
}

func objectLabels(pool *v1alpha1.JobPool) map[string]string {
	all := selectorLabels(pool)
	all[labelInstance] = pool.Name
	all[labelPart] = "syncline"
	all[labelManagedBy] = managedBy
	return all
}

// Managed selects the Deployments that pools own: the only ones that the manager's cache has to hold.
func Managed() labels.Selector { return labels.SelectorFromSet(labels.Set{labelManagedBy: managedBy}) }

func ownerReference(pool *v1alpha1.JobPool) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.SchemeGroupVersion.String()).WithKind(v1alpha1.KindJobPool).
		WithName(pool.Name).WithUID(pool.UID).WithController(true).WithBlockOwnerDeletion(true)
}

// ServiceAccount is the identity of a pool's pods: one without access to the API and without a token.
func ServiceAccount(pool *v1alpha1.JobPool) *corev1ac.ServiceAccountApplyConfiguration {
	return corev1ac.ServiceAccount(WorkloadName(pool), pool.Namespace).
		WithLabels(objectLabels(pool)).
		WithOwnerReferences(ownerReference(pool)).
		WithAutomountServiceAccountToken(false)
}

// Deployment is a pool's workers. It depends on the spec's template, replicas, drain timeout, pool name and database
// reference and on the options only: neither tuning nor the content of a secret rolls a pod.
func Deployment(pool *v1alpha1.JobPool, replicas int32, opts Options) (*appsv1ac.DeploymentApplyConfiguration, error) {
	template, err := podTemplate(pool, opts)
	if err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(WorkloadName(pool), pool.Namespace).
		WithLabels(objectLabels(pool)).
		WithOwnerReferences(ownerReference(pool)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(replicas).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selectorLabels(pool))).
			WithTemplate(template)), nil
}

// podTemplate is the spec's template, completed. What the user set stays; what has one right value is set always.
func podTemplate(pool *v1alpha1.JobPool, opts Options) (*corev1ac.PodTemplateSpecApplyConfiguration, error) {
	template := corev1ac.PodTemplateSpec()
	text, err := json.Marshal(pool.Spec.Template)
	if err != nil {
		return nil, fmt.Errorf("encode the pod template: %w", err)
	}
	if err := json.Unmarshal(text, template); err != nil {
		return nil, fmt.Errorf("decode the pod template: %w", err)
	}
	template.WithLabels(objectLabels(pool))
	if template.Spec == nil {
		template.WithSpec(corev1ac.PodSpec())
	}
	completePod(template.Spec, pool)
	completeWorker(worker(template.Spec), pool, opts)
	return template, nil
}

func completePod(pod *corev1ac.PodSpecApplyConfiguration, pool *v1alpha1.JobPool) {
	pod.WithTerminationGracePeriodSeconds(int64(pool.Spec.DrainTimeoutSeconds) + secondBudgetSeconds + marginSeconds)
	orSet(&pod.ServiceAccountName, WorkloadName(pool))
	orSet(&pod.AutomountServiceAccountToken, false)
	if pod.SecurityContext == nil {
		pod.SecurityContext = corev1ac.PodSecurityContext()
	}
	completePodSecurity(pod.SecurityContext)
	pod.WithVolumes(
		corev1ac.Volume().WithName(databaseVolume).WithSecret(corev1ac.SecretVolumeSource().
			WithSecretName(pool.Spec.Database.SecretRef.Name).
			WithItems(corev1ac.KeyToPath().WithKey(pool.Spec.Database.SecretRef.Key).WithPath(databaseFile))),
		// Optional: the keyset exists only where something is sealed, and appears in the mount when it comes.
		corev1ac.Volume().WithName(sealingVolume).WithSecret(corev1ac.SecretVolumeSource().
			WithSecretName(credential.KeysetSecret).WithOptional(true)),
	)
}

// completePodSecurity makes the pod one that the restricted Pod Security Standard admits.
func completePodSecurity(s *corev1ac.PodSecurityContextApplyConfiguration) {
	orSet(&s.RunAsNonRoot, true)
	orSet(&s.RunAsUser, uid)
	orSet(&s.RunAsGroup, uid)
	orSet(&s.FSGroup, uid)
	if s.SeccompProfile == nil {
		s.WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))
	}
}

// worker finds the worker's container in the pod, or adds it in front.
func worker(pod *corev1ac.PodSpecApplyConfiguration) *corev1ac.ContainerApplyConfiguration {
	for i := range pod.Containers {
		if name := pod.Containers[i].Name; name != nil && *name == workerContainer {
			return &pod.Containers[i]
		}
	}
	pod.Containers = slices.Insert(pod.Containers, 0, *corev1ac.Container().WithName(workerContainer))
	return &pod.Containers[0]
}

func completeWorker(c *corev1ac.ContainerApplyConfiguration, pool *v1alpha1.JobPool, opts Options) {
	if c.Image == nil {
		c.WithImage(opts.Image)
		if c.ImagePullPolicy == nil && opts.PullPolicy != "" {
			c.WithImagePullPolicy(opts.PullPolicy)
		}
	}
	if len(c.Command) == 0 {
		c.WithCommand("/worker")
	}
	c.Args = append(arguments(pool), c.Args...)
	addEnv(c, "POD_NAME", "metadata.name")
	addEnv(c, "POD_NAMESPACE", "metadata.namespace")
	addEnv(c, "POD_IP", "status.podIP")
	c.WithPorts(
		corev1ac.ContainerPort().WithName("http").WithContainerPort(httpPort).WithProtocol(corev1.ProtocolTCP),
		corev1ac.ContainerPort().WithName("local").WithContainerPort(localPort).WithProtocol(corev1.ProtocolTCP))
	c.WithVolumeMounts(
		corev1ac.VolumeMount().WithName(databaseVolume).WithMountPath(databasePath).WithReadOnly(true),
		corev1ac.VolumeMount().WithName(sealingVolume).WithMountPath(sealingPath).WithReadOnly(true))
	completeProbes(c)
	completeContainerSecurity(c)
}

func arguments(pool *v1alpha1.JobPool) []string {
	return []string{
		"--pool=" + PoolName(pool),
		"--schema=" + pool.Spec.Database.Schema,
		"--database-uri-file=" + databasePath + "/" + databaseFile,
		"--sealing-keyset-file=" + sealingPath + "/" + sealingFile,
		"--drain-timeout=" + strconv.Itoa(int(pool.Spec.DrainTimeoutSeconds)) + "s",
		"--http-address=:" + strconv.Itoa(int(httpPort)),
	}
}

// addEnv gives the container one of its pod's fields, unless the user set that variable.
func addEnv(c *corev1ac.ContainerApplyConfiguration, name, path string) {
	for _, e := range c.Env {
		if e.Name != nil && *e.Name == name {
			return
		}
	}
	c.WithEnv(corev1ac.EnvVar().WithName(name).WithValueFrom(
		corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithFieldPath(path))))
}

// completeProbes checks the process, not the database: a worker that waits for its database is alive, and killing it
// would help nobody.
func completeProbes(c *corev1ac.ContainerApplyConfiguration) {
	if c.LivenessProbe == nil {
		c.WithLivenessProbe(httpProbe("/healthz").WithPeriodSeconds(10).WithFailureThreshold(6))
	}
	if c.ReadinessProbe == nil {
		c.WithReadinessProbe(httpProbe("/readyz").WithPeriodSeconds(2).WithFailureThreshold(3))
	}
}

func httpProbe(path string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().WithTimeoutSeconds(2).
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("http")))
}

// completeContainerSecurity takes from the container what a worker has no use for.
func completeContainerSecurity(c *corev1ac.ContainerApplyConfiguration) {
	if c.SecurityContext == nil {
		c.WithSecurityContext(corev1ac.SecurityContext())
	}
	s := c.SecurityContext
	orSet(&s.AllowPrivilegeEscalation, false)
	orSet(&s.ReadOnlyRootFilesystem, true)
	if s.Capabilities == nil {
		s.WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
	}
}

// orSet sets a field that the user left open.
func orSet[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
