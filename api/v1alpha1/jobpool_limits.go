package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// Fairness says whose runs a pool claims first.
// +kubebuilder:validation:Enum=None;Tenant
type Fairness string

const (
	// FairnessNone claims by due time and priority, whoever a run belongs to.
	FairnessNone Fairness = "None"
	// FairnessTenant serves tenants by turns.
	FairnessTenant Fairness = "Tenant"
)

// StartRate is a token bucket that all workers of a pool share.
type StartRate struct {
	// startsPerSecond is how many runs may start per second on average, 0.001 to 100000, such as 8 or "0.5".
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1m')) >= 0 && quantity(string(self)).compareTo(quantity('100k')) <= 0",reason=FieldValueInvalid,message="spec.startRate.startsPerSecond must be from 0.001 to 100000: leave startRate out for no limit, or set spec.stopPolicy to Hold to start nothing"
	StartsPerSecond resource.Quantity `json:"startsPerSecond,omitzero"`

	// burst is how many runs may start at once after a pause, 1 to 100000.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Burst int32 `json:"burst,omitempty"`
}

// Retention says how long runs are kept after they have ended.
// +kubebuilder:validation:MinProperties=1
type Retention struct {
	// completedSeconds is how long a run is kept that completed, in seconds, 60 to 315360000 (ten years).
	// +optional
	// +default=604800
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=315360000
	CompletedSeconds int32 `json:"completedSeconds,omitempty"`

	// failedSeconds is how long a run is kept that ended in any other way (failed, timed out, lost, cancelled), in seconds,
	// 60 to 315360000 (ten years).
	// +optional
	// +default=2592000
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=315360000
	FailedSeconds int32 `json:"failedSeconds,omitempty"`
}
