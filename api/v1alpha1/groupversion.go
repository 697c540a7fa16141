// Package v1alpha1 holds the custom resources of Syncline: JobPool, IntegrationConnection and IntegrationSubscription.
//
// The types say what a user wants and what was observed; nothing here executes anything. Controllers translate them
// into the documents of the data plane, so this package imports Kubernetes API types only. All kinds are namespaced,
// and references stay in the namespace. Times are counted in whole seconds and ratios are decimal strings, so that what
// a user wrote is never rewritten in another form.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package=applyconfiguration
// +groupName=syncline.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every kind in this package.
const GroupName = "syncline.dev"

var (
	// SchemeGroupVersion is the group and version of every kind in this package.
	SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme registers the kinds of this package in a scheme.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&JobPool{}, &JobPoolList{},
		&IntegrationConnection{}, &IntegrationConnectionList{},
		&IntegrationSubscription{}, &IntegrationSubscriptionList{},
	)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}

// The names of the kinds, as they go into the ids of rows and into owner references.
const (
	// KindJobPool is the kind of a JobPool.
	KindJobPool = "JobPool"
	// KindIntegrationConnection is the kind of an IntegrationConnection.
	KindIntegrationConnection = "IntegrationConnection"
	// KindIntegrationSubscription is the kind of an IntegrationSubscription.
	KindIntegrationSubscription = "IntegrationSubscription"
)

// RunRequestedAnnotation asks for one run of a subscription now, also while it is suspended. Its value is an opaque
// token, usually the current time; every new value is one request. The value last answered stands in
// status.lastHandledRunRequest.
const RunRequestedAnnotation = "syncline.dev/run-requested-at"
