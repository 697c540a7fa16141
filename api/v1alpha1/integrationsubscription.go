package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeletionPolicy says what becomes of a subscription's state in the database when the resource is deleted.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

const (
	// DeletionPolicyRetain keeps cursor, audit, quarantine and outbox rows: a subscription created again under the same
	// name goes on where the old one stopped.
	DeletionPolicyRetain DeletionPolicy = "Retain"
	// DeletionPolicyDelete removes cursor, audit and quarantine rows. The sink's table stays in both.
	DeletionPolicyDelete DeletionPolicy = "Delete"
)

// IntegrationSubscriptionSpec says which entity of a connection is synchronised, when, and into which table.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sink.diff) || !has(self.sink.diff.ignore) || self.sink.diff.ignore.all(i, self.mapping.exists(m, m.field == i))",fieldPath=".sink.diff.ignore",reason=FieldValueInvalid,message="spec.sink.diff.ignore names a field that spec.mapping does not have: add it to spec.mapping or take it out of the list"
type IntegrationSubscriptionSpec struct {
	// poolRef names the JobPool whose workers run the subscription and whose database holds its table.
	// +required
	PoolRef PoolReference `json:"poolRef,omitzero"`

	// connectionRef names the IntegrationConnection to read from. It cannot change.
	// +required
	ConnectionRef ConnectionReference `json:"connectionRef,omitzero"`

	// entity names what a record is, in lower-case snake case, such as ticket: events are called <entity>_created,
	// <entity>_edited and <entity>_deleted. It cannot change.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=48
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9_]*$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",reason=FieldValueInvalid,message="spec.entity cannot change, because events and audit rows carry it: create another IntegrationSubscription"
	Entity string `json:"entity,omitempty"`

	// schedule says when the subscription runs by itself. Without it, it runs only when the annotation
	// syncline.dev/run-requested-at asks for it.
	// +optional
	Schedule *Schedule `json:"schedule,omitempty"`

	// source says where records come from.
	// +required
	Source Source `json:"source,omitzero"`

	// deletes says how a record that was deleted at the provider is recognised.
	// +optional
	Deletes *Deletes `json:"deletes,omitempty"`

	// filter is a CEL predicate over record; a record for which it is false is left out, and a row that it had is left
	// as it is. Without it every record passes. Example: !has(record.pull_request)
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Filter string `json:"filter,omitempty"`

	// mapping lists the columns of a row and where their values come from, 1 to 200.
	// +required
	// +listType=map
	// +listMapKey=field
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	Mapping []FieldMapping `json:"mapping,omitempty"`

	// sink is the table that receives the rows.
	// +required
	Sink Sink `json:"sink,omitzero"`

	// emitChanges writes one change event for every row created, edited or deleted, in the same transaction as the row.
	// Switched on for a table that is already filled, it emits from then on only.
	// +optional
	// +default=false
	EmitChanges *bool `json:"emitChanges,omitempty"`

	// onRecordError says when a bad record is set aside and when a run stops.
	// +optional
	// +default={"quarantineAfter":1}
	OnRecordError OnRecordError `json:"onRecordError,omitzero"`

	// audit says how long the record of runs and changes is kept.
	// +optional
	// +default={"retentionSeconds":7776000}
	Audit Audit `json:"audit,omitzero"`

	// suspend stops the schedule; a run that is in flight finishes, and a requested run is still made.
	// +optional
	// +default=false
	Suspend *bool `json:"suspend,omitempty"`

	// deletionPolicy says what becomes of the state in the database when the resource is deleted: Retain keeps cursor,
	// audit and quarantine rows, so that a resource of the same name goes on from there; Delete removes them. The table
	// with the synchronised rows stays in both.
	// +optional
	// +default="Retain"
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// PoolReference names a JobPool in the same namespace.
type PoolReference struct {
	// name is the name of the JobPool.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// ConnectionReference names an IntegrationConnection in the same namespace.
type ConnectionReference struct {
	// name is the name of the IntegrationConnection.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",reason=FieldValueInvalid,message="spec.connectionRef.name cannot change, because the table's rows belong to that connection: create another IntegrationSubscription for the other connection"
	Name string `json:"name,omitempty"`
}

// Schedule says when a subscription runs. Exactly one of periodSeconds and cron is set. Runs of different subscriptions
// with the same schedule are spread by a few seconds, always the same for one subscription.
//
// +kubebuilder:validation:ExactlyOneOf=periodSeconds;cron
// +kubebuilder:validation:XValidation:rule="!has(self.timeZone) || has(self.cron)",fieldPath=".timeZone",reason=FieldValueForbidden,message="spec.schedule.timeZone has no meaning with periodSeconds: leave it out, or use cron"
type Schedule struct {
	// periodSeconds is the time between the starts of two runs, in seconds, 1 to 2592000 (30 days). A run that takes
	// longer delays the next one; they never overlap.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	PeriodSeconds int32 `json:"periodSeconds,omitempty"`

	// cron is a schedule of five fields: minute, hour, day, month and weekday. Example: "0 3 * * *"
	// +optional
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9A-Za-z*,/?-]+( +[0-9A-Za-z*,/?-]+){4}$')",reason=FieldValueInvalid,message="spec.schedule.cron must have exactly five fields (minute, hour, day, month, weekday), such as 0 3 * * *: write the time zone into spec.schedule.timeZone, and intervals into spec.schedule.periodSeconds"
	Cron string `json:"cron,omitempty"`

	// timeZone is the IANA name of the time zone that cron is read in, such as Europe/Berlin; UTC when it is not set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self != 'Local' && self.matches('^[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+){0,3}$')",reason=FieldValueInvalid,message="spec.schedule.timeZone must be an IANA name such as Europe/Berlin or UTC: a worker has no local time"
	TimeZone string `json:"timeZone,omitempty"`
}

// Source says where records come from. Exactly one member is set.
//
// +kubebuilder:validation:ExactlyOneOf=http
type Source struct {
	// http reads records from the connection's HTTP API, page by page.
	// +optional
	HTTP *HTTPSource `json:"http,omitempty"`
}

// Deletes says how a record that was deleted at the provider is recognised. An empty answer never means that all
// records were deleted.
// +kubebuilder:validation:MinProperties=1
type Deletes struct {
	// tombstone is a CEL predicate over record; a record for which it is true was deleted at the provider. Example:
	// has(record.deleted_at)
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Tombstone string `json:"tombstone,omitempty"`
}

// OnRecordError says when a bad record is set aside and when a run stops.
// +kubebuilder:validation:MinProperties=1
type OnRecordError struct {
	// quarantineAfter is the number of failed tries after which a record is set aside and the cursor may pass it, 1 to
	// 100. Until then the run ends before the record and the next one tries it again.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	QuarantineAfter int32 `json:"quarantineAfter,omitempty"`

	// stopRatio is the share of a run's records that may be bad, a decimal above 0 and up to 1 with at most four digits
	// after the point. A run with a larger share stops and keeps its cursor, because then the mapping is wrong rather than
	// the records.
	// +optional
	// +default="0.2"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="self.matches('^(1|1[.]0{1,4}|0[.][0-9]{1,4})$') && self.matches('[1-9]')",reason=FieldValueInvalid,message="spec.onRecordError.stopRatio must be a decimal above 0 and up to 1 with at most four digits after the point, in quotes, such as \"0.2\": use \"1\" to never stop a run"
	StopRatio string `json:"stopRatio,omitempty"`
}

// Audit says how long the record of runs and changes is kept.
// +kubebuilder:validation:MinProperties=1
type Audit struct {
	// retentionSeconds is how long runs and their items are kept, in seconds, 3600 (an hour) to 315360000 (ten years).
	// +optional
	// +default=7776000
	// +kubebuilder:validation:Minimum=3600
	// +kubebuilder:validation:Maximum=315360000
	RetentionSeconds int32 `json:"retentionSeconds,omitempty"`
}

// IntegrationSubscription is one entity of one connection, kept in a table.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=isub,categories=syncline
// +kubebuilder:selectablefield:JSONPath=`.spec.poolRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.connectionRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.entity`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Entity",type=string,JSONPath=`.spec.entity`
// +kubebuilder:printcolumn:name="Connection",type=string,JSONPath=`.spec.connectionRef.name`
// +kubebuilder:printcolumn:name="Outcome",type=string,JSONPath=`.status.lastRun.outcome`
// +kubebuilder:printcolumn:name="Last Success",type=date,JSONPath=`.status.lastSuccessTime`
// +kubebuilder:printcolumn:name="Quarantined",type=integer,JSONPath=`.status.quarantined`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Pool",type=string,priority=1,JSONPath=`.spec.poolRef.name`
// +kubebuilder:printcolumn:name="Table",type=string,priority=1,JSONPath=`.spec.sink.table`
// +kubebuilder:printcolumn:name="Suspended",type=boolean,priority=1,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Last Change",type=date,priority=1,JSONPath=`.status.lastChangeTime`
// +kubebuilder:printcolumn:name="Next Run",type=string,priority=1,JSONPath=`.status.nextRunTime`
// +kubebuilder:printcolumn:name="Failures",type=integer,priority=1,JSONPath=`.status.consecutiveFailures`
type IntegrationSubscription struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what is synchronised.
	// +required
	Spec IntegrationSubscriptionSpec `json:"spec,omitzero"`

	// status is what was observed of the subscription.
	// +optional
	Status IntegrationSubscriptionStatus `json:"status,omitzero"`
}

// IntegrationSubscriptionList is a list of IntegrationSubscriptions.
//
// +kubebuilder:object:root=true
type IntegrationSubscriptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []IntegrationSubscription `json:"items"`
}
