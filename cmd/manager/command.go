package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/syncline-dev/syncline/internal/controller/manager"
	"github.com/syncline-dev/syncline/internal/runtime/telemetry"
)

// command is the operator with its flags, and its subcommands.
func command() *cobra.Command {
	var (
		o          manager.Options
		logLevel   string
		pullPolicy string
	)
	root := &cobra.Command{
		Use:           "manager",
		Short:         "Run the Syncline operator",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			policy, err := parsePullPolicy(pullPolicy)
			if err != nil {
				return err
			}
			o.Workers.PullPolicy = policy
			if err := setLogger(logLevel); err != nil {
				return err
			}
			return run(cmd, o)
		},
	}
	f := root.Flags()
	f.BoolVar(&o.LeaderElection, "leader-elect", false, "let only one of several managers work")
	f.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "namespace of the Lease (default: the pod's own)")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", "0", `address of the metrics, served over HTTPS with authentication and authorization; "0" serves none`)
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", `address of /healthz and /readyz; "0" serves none`)
	f.StringVar(&o.Workers.Image, "worker-image", "", "image of the workers of pools that name none")
	f.StringVar(&pullPolicy, "worker-image-pull-policy", "", "pull policy of that image: Always, IfNotPresent or Never (default: the cluster's)")
	f.StringVar(&o.Cluster, "cluster-id", "", "id of this cluster in databases that several clusters share (default: the uid of namespace kube-system)")
	f.StringSliceVar(&o.Namespaces, "namespaces", nil, "namespaces to watch, separated by commas (default: all)")
	f.IntVar(&o.MaxConcurrentReconciles, "max-concurrent-reconciles", 4, "resources of one kind that are reconciled at the same time")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(migrateCommand())
	return root
}

func run(cmd *cobra.Command, o manager.Options) error {
	if o.Workers.Image == "" {
		return errors.New("--worker-image is not set: name the image that holds the worker")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	mgr, err := manager.New(cmd.Context(), config, o)
	if err != nil {
		return err
	}
	if err := mgr.Start(cmd.Context()); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

func parsePullPolicy(text string) (corev1.PullPolicy, error) {
	switch p := corev1.PullPolicy(text); p {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
		return p, nil
	}
	return "", fmt.Errorf("--worker-image-pull-policy is %q, want Always, IfNotPresent or Never", text)
}

// setLogger makes controllers and client libraries log JSON lines to standard error, as workers do.
func setLogger(level string) error {
	log, err := telemetry.NewLogger(os.Stderr, level)
	if err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	sink := logr.FromSlogHandler(log.Handler())
	ctrl.SetLogger(sink)
	klog.SetLogger(sink)
	return nil
}
