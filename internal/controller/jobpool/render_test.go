package jobpool

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/syncline-dev/syncline/api/v1alpha1"
	"github.com/syncline-dev/syncline/internal/runtime/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testOptions = Options{Image: "example.com/syncline:v1", PullPolicy: corev1.PullIfNotPresent}

// makePool is a pool as the API server hands it out, defaults included.
func makePool(change ...func(*v1alpha1.JobPool)) *v1alpha1.JobPool {
	pool := &v1alpha1.JobPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "batch", UID: "u-1", Generation: 4},
		Spec: v1alpha1.JobPoolSpec{
			Database:            v1alpha1.Database{SecretRef: v1alpha1.DatabaseSecretRef{Name: "orders-app", Key: "uri"}, Schema: "syncline"},
			Replicas:            new(int32(2)),
			Concurrency:         10,
			Claim:               v1alpha1.ClaimTuning{PollPeriodSeconds: 1, WakeMode: v1alpha1.WakeModeNotify},
			Lease:               v1alpha1.LeaseTuning{StaleThresholdSeconds: 60, SweepPeriodSeconds: 15},
			DrainTimeoutSeconds: 30,
			StopPolicy:          v1alpha1.StopPolicyNone,
		},
	}
	for _, c := range change {
		c(pool)
	}
	return pool
}

// TestGoldenDeployment guards what rolls pods: an upgrade of the operator that changes one of these files restarts the
// workers of every user.
func TestGoldenDeployment(t *testing.T) {
	cases := map[string]*v1alpha1.JobPool{
		"default": makePool(),
		"template": makePool(func(p *v1alpha1.JobPool) {
			p.Spec.PoolName, p.Spec.DrainTimeoutSeconds = "nightly", 600
			p.Spec.Template = corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "kept"}},
				Spec: corev1.PodSpec{
					ServiceAccountName: "own",
					NodeSelector:       map[string]string{"disk": "fast"},
					SecurityContext:    &corev1.PodSecurityContext{RunAsUser: new(int64(1000))},
					Volumes:            []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
					Containers: []corev1.Container{
						{Name: "sidecar", Image: "example.com/sidecar:1"},
						{
							Name: "worker", Image: "example.com/own:2", Args: []string{"--log-level=debug"},
							Env:            []corev1.EnvVar{{Name: "POD_NAME", Value: "mine"}, {Name: "EXTRA", Value: "1"}},
							Resources:      corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}},
							VolumeMounts:   []corev1.VolumeMount{{Name: "scratch", MountPath: "/tmp"}},
							ReadinessProbe: &corev1.Probe{PeriodSeconds: 30},
						},
					},
				},
			}
		}),
	}
	for name, pool := range cases {
		t.Run(name, func(t *testing.T) {
			d, err := Deployment(pool, replicasWanted(pool), testOptions)
			if err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the Deployment of pool %q changed (-want +got); if users shall accept that their pods restart, run with -update:\n%s", name, diff)
			}
		})
	}
}

func replicasWanted(p *v1alpha1.JobPool) int32 { return (&scope{pool: p}).replicas() }

func TestTuningRollsNoPods(t *testing.T) {
	before, err := Deployment(makePool(), 2, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Deployment(makePool(func(p *v1alpha1.JobPool) {
		p.Generation++
		p.Spec.Concurrency = 99
		p.Spec.StopPolicy = v1alpha1.StopPolicyHoldAndDrain
		p.Spec.MaxRunning, p.Spec.Fairness = new(int32(9)), v1alpha1.FairnessTenant
		p.Spec.StartRate = &v1alpha1.StartRate{StartsPerSecond: resource.MustParse("5"), Burst: 1}
		p.Spec.Retention = v1alpha1.Retention{CompletedSeconds: 60, FailedSeconds: 60}
		p.Spec.Claim = v1alpha1.ClaimTuning{PollPeriodSeconds: 60, WakeMode: v1alpha1.WakeModePoll}
		p.Spec.Lease = v1alpha1.LeaseTuning{StaleThresholdSeconds: 600, HeartbeatPeriodSeconds: 10, SweepPeriodSeconds: 60}
	}), 2, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a changed tuning changes the Deployment, so busy workers would restart (-before +after):\n%s", diff)
	}
}

func TestTuningReachesTheRow(t *testing.T) {
	p := makePool(func(p *v1alpha1.JobPool) { p.Spec.Lease.StaleThresholdSeconds = 100 })
	got := Tuning(&p.Spec)
	if got.HeartbeatMillis != 33_000 || got.LeaseMillis != 100_000 || got.SweepMillis != 15_000 || got.PollMillis != 1000 || got.Concurrency != 10 || got.Hold {
		t.Errorf("tuning %+v", got)
	}
	p.Spec.Lease.HeartbeatPeriodSeconds, p.Spec.StopPolicy = 5, v1alpha1.StopPolicyHold
	if got := Tuning(&p.Spec); got.HeartbeatMillis != 5000 || !got.Hold {
		t.Errorf("tuning with a heartbeat of its own, held: %+v", got)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("a worker would refuse it: %v", err)
	}
}

func TestLimitsReachTheRow(t *testing.T) {
	p := makePool(func(p *v1alpha1.JobPool) {
		p.Spec.MaxRunning = new(int32(40))
		p.Spec.StartRate = &v1alpha1.StartRate{StartsPerSecond: resource.MustParse("500m"), Burst: 3}
		p.Spec.Fairness = v1alpha1.FairnessTenant
		p.Spec.Retention = v1alpha1.Retention{CompletedSeconds: 60, FailedSeconds: 120}
		p.Spec.StopPolicy = v1alpha1.StopPolicyHoldAndDrain
	})
	got := Tuning(&p.Spec)
	want := Tuning(&makePool().Spec)
	want.Hold, want.Drain, want.MaxRunning, want.Fairness = true, true, 40, spec.FairnessTenant
	want.StartRate = &spec.StartRate{PerSecond: 0.5, Burst: 3}
	want.Retention = spec.Retention{CompletedMillis: 60_000, FailedMillis: 120_000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tuning (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("a worker would refuse it: %v", err)
	}
}
