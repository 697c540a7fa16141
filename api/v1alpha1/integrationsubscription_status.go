package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RunOutcome says how a run ended.
// +kubebuilder:validation:Enum=Running;Succeeded;NoChanges;Partial;Failed;Abandoned
type RunOutcome string

const (
	// RunRunning is in flight.
	RunRunning RunOutcome = "Running"
	// RunSucceeded read everything and changed at least one row.
	RunSucceeded RunOutcome = "Succeeded"
	// RunNoChanges read everything and changed nothing.
	RunNoChanges RunOutcome = "NoChanges"
	// RunPartial stopped at a checkpoint; the next run goes on from there.
	RunPartial RunOutcome = "Partial"
	// RunFailed ended with an error; the cursor stands at the last checkpoint.
	RunFailed RunOutcome = "Failed"
	// RunAbandoned lost its lease; another attempt of the same run went on.
	RunAbandoned RunOutcome = "Abandoned"
)

// RunAction says what started a run.
// +kubebuilder:validation:Enum=Schedule;Manual
type RunAction string

const (
	// RunActionSchedule is a run that the schedule started.
	RunActionSchedule RunAction = "Schedule"
	// RunActionManual is a run that the annotation syncline.dev/run-requested-at asked for.
	RunActionManual RunAction = "Manual"
)

// IntegrationSubscriptionStatus is what was observed of a subscription.
// +kubebuilder:validation:MinProperties=1
type IntegrationSubscriptionStatus struct {
	// observedGeneration is the metadata.generation that this status describes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration *int64 `json:"observedGeneration,omitempty"`

	// conditions tell what holds and what is missing; the types are documented with their constants.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// subscriptionID is the subscription's id in the database, a UUID.
	// +optional
	// +kubebuilder:validation:MinLength=36
	// +kubebuilder:validation:MaxLength=36
	SubscriptionID string `json:"subscriptionID,omitempty"`

	// databaseID is a fingerprint of the database and schema that hold the subscription's cursor and audit, 64 hexadecimal
	// digits. It is set once they are there, survives another password, role or host name, and keeps the subscription from
	// starting over in another database by mistake.
	// +optional
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9a-f]+$`
	DatabaseID string `json:"databaseID,omitempty"`

	// lastHandledRunRequest is the value of the annotation syncline.dev/run-requested-at that was last answered by a run.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	LastHandledRunRequest string `json:"lastHandledRunRequest,omitempty"`

	// nextRunTime is when the schedule starts the next run; not set while there is no schedule or it is suspended.
	// +optional
	NextRunTime *metav1.Time `json:"nextRunTime,omitempty"`

	// lastRun is the newest run.
	// +optional
	LastRun *RunStatus `json:"lastRun,omitempty"`

	// lastSuccessTime is when the newest run that read everything completed.
	// +optional
	LastSuccessTime *metav1.Time `json:"lastSuccessTime,omitempty"`

	// lastChangeTime is when a run last changed a row.
	// +optional
	LastChangeTime *metav1.Time `json:"lastChangeTime,omitempty"`

	// consecutiveFailures is the number of runs that failed since the last one that did not.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConsecutiveFailures *int32 `json:"consecutiveFailures,omitempty"`

	// cursor is how far the source has been read, for people to look at; the database holds the truth.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Cursor string `json:"cursor,omitempty"`

	// quarantined is the number of records that are set aside and not resolved.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Quarantined *int64 `json:"quarantined,omitempty"`
}

// RunStatus is what one run did. The counts are records.
// +kubebuilder:validation:MinProperties=1
type RunStatus struct {
	// id is the run's id in the database.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ID int64 `json:"id,omitempty"`

	// attempt counts the workers that held the run, from 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Attempt int32 `json:"attempt,omitempty"`

	// outcome says how the run ended: Running, Succeeded, NoChanges, Partial, Failed or Abandoned.
	// +optional
	Outcome RunOutcome `json:"outcome,omitempty"`

	// action says what started the run: Schedule or Manual.
	// +optional
	Action RunAction `json:"action,omitempty"`

	// startTime is when the attempt began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is when the attempt ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// found is the number of records that the source gave.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Found *int64 `json:"found,omitempty"`

	// created is the number of rows created.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Created *int64 `json:"created,omitempty"`

	// updated is the number of rows whose values changed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Updated *int64 `json:"updated,omitempty"`

	// deleted is the number of rows deleted, softly or for good.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Deleted *int64 `json:"deleted,omitempty"`

	// resurrected is the number of softly deleted rows that came back.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Resurrected *int64 `json:"resurrected,omitempty"`

	// unchanged is the number of records that equalled their row.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Unchanged *int64 `json:"unchanged,omitempty"`

	// stale is the number of records that were older than their row.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Stale *int64 `json:"stale,omitempty"`

	// filtered is the number of records that spec.filter left out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Filtered *int64 `json:"filtered,omitempty"`

	// quarantined is the number of records that the run set aside.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Quarantined *int64 `json:"quarantined,omitempty"`

	// errorCode is a word for the error that ended the run.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	ErrorCode string `json:"errorCode,omitempty"`

	// error says what ended the run, and where. It holds no secret.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Error string `json:"error,omitempty"`
}
