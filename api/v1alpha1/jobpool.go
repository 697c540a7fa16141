package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StopPolicy says whether a pool takes new runs.
// +kubebuilder:validation:Enum=None;Hold;HoldAndDrain
type StopPolicy string

const (
	// StopPolicyNone lets the pool claim runs.
	StopPolicyNone StopPolicy = "None"
	// StopPolicyHold stops claiming; runs that are in flight finish, and the pods stay.
	StopPolicyHold StopPolicy = "Hold"
	// StopPolicyHoldAndDrain also cancels what still runs after the drain timeout, and gives it back; the pods stay.
	StopPolicyHoldAndDrain StopPolicy = "HoldAndDrain"
)

// WakeMode says how a worker learns of due runs besides its timer.
// +kubebuilder:validation:Enum=Notify;Poll
type WakeMode string

const (
	// WakeModeNotify listens for notifications on a connection of its own; the timer stays as the truth.
	WakeModeNotify WakeMode = "Notify"
	// WakeModePoll only looks when the timer fires, for databases behind a transaction-pooling proxy.
	WakeModePoll WakeMode = "Poll"
)

// JobPoolSpec says which database a pool of workers serves, how many workers there are and how they claim runs.
//
// +kubebuilder:validation:XValidation:rule="has(self.poolName) == has(oldSelf.poolName) && (!has(self.poolName) || self.poolName == oldSelf.poolName)",fieldPath=".poolName",reason=FieldValueInvalid,message="spec.poolName cannot change, because queued runs carry it: create another JobPool and point the subscriptions' spec.poolRef at it"
// +kubebuilder:validation:XValidation:rule="!has(self.template) || !has(self.template.spec) || !has(self.template.spec.terminationGracePeriodSeconds)",fieldPath=".template.spec.terminationGracePeriodSeconds",reason=FieldValueForbidden,message="spec.template.spec.terminationGracePeriodSeconds is derived from spec.drainTimeoutSeconds: leave it out and set spec.drainTimeoutSeconds instead"
type JobPoolSpec struct {
	// database is the PostgreSQL database that holds the pool's runs and the tables that its workers write.
	// +required
	Database Database `json:"database,omitzero"`

	// poolName is the pool's name in the database, which runs and metrics carry. It is metadata.name when it is not
	// set, and cannot change. Two JobPools on one database and schema cannot share a name: the second one is Stalled
	// with reason NameTaken.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`
	PoolName string `json:"poolName,omitempty"`

	// replicas is the number of worker pods, 0 to 1000. kubectl scale and autoscalers write it through /scale.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Replicas *int32 `json:"replicas,omitempty"`

	// concurrency is the number of runs in flight per worker pod, 1 to 1000. A change reaches running workers without
	// a restart.
	// +optional
	// +default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Concurrency int32 `json:"concurrency,omitempty"`

	// maxRunning is the number of runs in flight in the whole pool, over all of its workers, 0 to 100000; 0 is no limit.
	// The database keeps it: runs of a worker that has died count until they are put back. Claims of such a pool take
	// turns, and each counts what is in flight, which takes about two milliseconds for a thousand runs. A change reaches
	// running workers without a restart.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MaxRunning *int32 `json:"maxRunning,omitempty"`

	// startRate limits how fast the whole pool starts runs, retries among them; without it nothing does. A change reaches
	// running workers without a restart.
	// +optional
	StartRate *StartRate `json:"startRate,omitempty"`

	// fairness is None when runs are claimed by due time and priority, whoever they belong to, or Tenant when the tenants
	// take turns, so that one with a great many runs does not hold the others up; runs without a tenant are one more.
	// Within a tenant the order stays. A change reaches running workers without a restart.
	// +optional
	// +default="None"
	Fairness Fairness `json:"fairness,omitempty"`

	// claim tunes how workers look for due runs. A change reaches running workers without a restart.
	// +optional
	// +default={"pollPeriodSeconds":1}
	Claim ClaimTuning `json:"claim,omitzero"`

	// lease tunes how workers keep the runs that they claimed and how a dead worker is noticed. A change reaches running
	// workers without a restart.
	// +optional
	// +default={"staleThresholdSeconds":60}
	Lease LeaseTuning `json:"lease,omitzero"`

	// drainTimeoutSeconds is how long a pod that is told to stop lets its runs finish before it gives them back, in
	// seconds, 1 to 86400. The pod's termination grace period is derived from it. A change rolls the pods.
	// +optional
	// +default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	DrainTimeoutSeconds int32 `json:"drainTimeoutSeconds,omitempty"`

	// retention says how long runs are kept after they have ended. A run goes with its attempts, steps and signals, and
	// only when all runs of its tree are due to go.
	// +optional
	// +default={"completedSeconds":604800,"failedSeconds":2592000}
	Retention Retention `json:"retention,omitzero"`

	// stopPolicy says whether workers take new runs: None lets them, Hold makes them finish what they have and claim no
	// more, HoldAndDrain also cancels what still runs after drainTimeoutSeconds and gives it back without spending an
	// attempt. Pods stay up in all of them. A change reaches running workers without a restart.
	// +optional
	// +default="None"
	StopPolicy StopPolicy `json:"stopPolicy,omitempty"`

	// handlers are job types that the pool's workers serve over HTTP, at most 64. A change reaches running workers without
	// a restart, and so does another value of a signing secret.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Handlers []JobHandler `json:"handlers,omitempty"`

	// template is a pod template that the operator completes: the container named "worker" gets the worker's image,
	// command, probes, mounts and security context where the template does not say otherwise; other containers, volumes
	// and metadata are kept. A change rolls the pods.
	// +optional
	Template corev1.PodTemplateSpec `json:"template,omitzero"`
}

// Database names a PostgreSQL database, version 14 or newer.
type Database struct {
	// secretRef names the Secret key that holds the connection URI, postgres://user:password@host:port/database. It is
	// read again at every connect, so that a rotated password needs no restart.
	// +required
	SecretRef DatabaseSecretRef `json:"secretRef,omitzero"`

	// schema is the PostgreSQL schema of Syncline's own tables, created when it is missing. It cannot change.
	// +optional
	// +default="syncline"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=48
	// +kubebuilder:validation:Pattern=`^[a-z_][a-z0-9_]*$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",reason=FieldValueInvalid,message="spec.database.schema cannot change, because the pool's runs stand in it: create another JobPool with the new schema and point the subscriptions' spec.poolRef at it"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pg_') && self != 'information_schema'",reason=FieldValueInvalid,message="spec.database.schema is a name that PostgreSQL reserves for itself: use another one, such as syncline"
	Schema string `json:"schema,omitempty"`
}

// DatabaseSecretRef names one key of a Secret in the same namespace.
type DatabaseSecretRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is the key in the Secret. The default is what CloudNativePG and Service Binding write.
	// +optional
	// +default="uri"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Key string `json:"key,omitempty"`
}

// ClaimTuning tunes how workers look for due runs.
// +kubebuilder:validation:MinProperties=1
type ClaimTuning struct {
	// pollPeriodSeconds is the longest time between two looks for due runs, in seconds, 1 to 300. It is what bounds the
	// delay when notifications do not arrive.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	PollPeriodSeconds int32 `json:"pollPeriodSeconds,omitempty"`

	// wakeMode is Notify when the database tells workers of due runs at once (one listening connection a worker), or
	// Poll when only the timer does, which a transaction-pooling proxy such as PgBouncer asks for.
	// +optional
	// +default="Notify"
	WakeMode WakeMode `json:"wakeMode,omitempty"`
}

// LeaseTuning tunes how long a worker holds its runs without a sign of life.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.heartbeatPeriodSeconds) || !has(self.staleThresholdSeconds) || 3 * self.heartbeatPeriodSeconds <= self.staleThresholdSeconds",fieldPath=".heartbeatPeriodSeconds",reason=FieldValueInvalid,message="spec.lease.heartbeatPeriodSeconds must be at most a third of spec.lease.staleThresholdSeconds, so that two lost beats cost no run: lower it, raise staleThresholdSeconds, or leave it out to get a third"
type LeaseTuning struct {
	// staleThresholdSeconds is how long after its last confirmed beat a worker loses its runs to others, in seconds, 10
	// to 86400. A worker that cannot beat stops by itself before that.
	// +optional
	// +default=60
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	StaleThresholdSeconds int32 `json:"staleThresholdSeconds,omitempty"`

	// heartbeatPeriodSeconds is the time between two beats, in seconds, 1 to 28800 and at most a third of
	// staleThresholdSeconds. It is a third of staleThresholdSeconds when it is not set; the value in force stands in
	// status.tuning.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=28800
	HeartbeatPeriodSeconds int32 `json:"heartbeatPeriodSeconds,omitempty"`

	// sweepPeriodSeconds is the time between two looks for workers that lost their lease, in seconds, 1 to 3600. A run
	// of a dead worker is taken over after staleThresholdSeconds + sweepPeriodSeconds at the latest, plus the few seconds
	// that a transaction of that worker may still take.
	// +optional
	// +default=15
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	SweepPeriodSeconds int32 `json:"sweepPeriodSeconds,omitempty"`
}

// JobPoolStatus is what was observed of a pool.
// +kubebuilder:validation:MinProperties=1
type JobPoolStatus struct {
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

	// selector is the label selector of the worker pods, in the string form that /scale serves.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Selector string `json:"selector,omitempty"`

	// replicas is the number of worker pods that exist, pods that are draining left out.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// desiredReplicas is the number of worker pods that the operator asks for.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DesiredReplicas *int32 `json:"desiredReplicas,omitempty"`

	// readyReplicas is the number of worker pods that are ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ReadyReplicas *int32 `json:"readyReplicas,omitempty"`

	// drainingReplicas is the number of worker pods that were told to stop and finish their runs.
	// +optional
	// +kubebuilder:validation:Minimum=0
	DrainingReplicas *int32 `json:"drainingReplicas,omitempty"`

	// tuning tells which tuning stands in the database and how many workers run with it.
	// +optional
	Tuning *TuningStatus `json:"tuning,omitempty"`

	// claims is the health of the pool's runs and leases, read from the database.
	// +optional
	Claims *ClaimsStatus `json:"claims,omitempty"`
}

// TuningStatus tells how far the pool's tuning has got. It is in force everywhere when workersCurrent equals
// claims.workers and observedGeneration equals metadata.generation.
// +kubebuilder:validation:MinProperties=1
type TuningStatus struct {
	// observedGeneration is the metadata.generation whose tuning stands in the pool's row.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration *int64 `json:"observedGeneration,omitempty"`

	// generation counts the changes of the tuning in the pool's row.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Generation *int64 `json:"generation,omitempty"`

	// workersCurrent is the number of live workers that run with this generation.
	// +optional
	// +kubebuilder:validation:Minimum=0
	WorkersCurrent *int32 `json:"workersCurrent,omitempty"`

	// heartbeatPeriodSeconds is the time between two beats that is in force, in seconds, whether set or derived.
	// +optional
	// +kubebuilder:validation:Minimum=1
	HeartbeatPeriodSeconds int32 `json:"heartbeatPeriodSeconds,omitempty"`
}

// ClaimsStatus is the health of a pool's runs and leases. Counts that move all the time are refreshed a few times a
// minute at most.
// +kubebuilder:validation:MinProperties=1
type ClaimsStatus struct {
	// observedTime is when the database was last read with another result than before.
	// +optional
	ObservedTime *metav1.Time `json:"observedTime,omitempty"`

	// pendingRuns is the number of runs that are due and wait for a worker.
	// +optional
	// +kubebuilder:validation:Minimum=0
	PendingRuns *int64 `json:"pendingRuns,omitempty"`

	// scheduledRuns is the number of runs that become due later, retries that wait out their backoff among them.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ScheduledRuns *int64 `json:"scheduledRuns,omitempty"`

	// blockedRuns is the number of runs that wait for their lane, which another run holds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	BlockedRuns *int64 `json:"blockedRuns,omitempty"`

	// runningRuns is the number of runs that a worker holds.
	// +optional
	// +kubebuilder:validation:Minimum=0
	RunningRuns *int64 `json:"runningRuns,omitempty"`

	// staleRuns is the number of runs that are held by a worker whose lease has ended and that no sweep has put back yet.
	// +optional
	// +kubebuilder:validation:Minimum=0
	StaleRuns *int64 `json:"staleRuns,omitempty"`

	// workers is the number of workers with a lease that is in force.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Workers *int32 `json:"workers,omitempty"`

	// unservedRuns is the number of due runs whose job type no live worker of the pool serves.
	// +optional
	// +kubebuilder:validation:Minimum=0
	UnservedRuns *int64 `json:"unservedRuns,omitempty"`

	// unservedTypes are the job types of those runs, the first 10.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	UnservedTypes []string `json:"unservedTypes,omitempty"`

	// oldestPendingTime is since when the run that waits longest has been due.
	// +optional
	OldestPendingTime *metav1.Time `json:"oldestPendingTime,omitempty"`

	// oldestHeartbeatTime is the last beat of the worker that has been silent for longest. While all workers beat in
	// time it is rounded down, so that it does not change the status with every beat.
	// +optional
	OldestHeartbeatTime *metav1.Time `json:"oldestHeartbeatTime,omitempty"`

	// leasesRecovered counts the runs that were put back because their worker had lost its lease, since the pool exists.
	// +optional
	// +kubebuilder:validation:Minimum=0
	LeasesRecovered *int64 `json:"leasesRecovered,omitempty"`

	// fencedWrites counts the writes that changed nothing because the worker no longer held the run, since the pool exists.
	// +optional
	// +kubebuilder:validation:Minimum=0
	FencedWrites *int64 `json:"fencedWrites,omitempty"`

	// completedPerMinute is the number of runs that completed within the last full minute.
	// +optional
	// +kubebuilder:validation:Minimum=0
	CompletedPerMinute *int64 `json:"completedPerMinute,omitempty"`
}

// JobPool is a pool of workers that claim runs from one PostgreSQL database.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=jp,categories=syncline
// +kubebuilder:selectablefield:JSONPath=`.spec.database.secretRef.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.poolName`
// +kubebuilder:selectablefield:JSONPath=`.spec.stopPolicy`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.status.desiredReplicas`
// +kubebuilder:printcolumn:name="Available",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Workers",type=integer,JSONPath=`.status.claims.workers`
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.claims.runningRuns`
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.claims.pendingRuns`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Stop",type=string,priority=1,JSONPath=`.spec.stopPolicy`
// +kubebuilder:printcolumn:name="Blocked",type=integer,priority=1,JSONPath=`.status.claims.blockedRuns`
// +kubebuilder:printcolumn:name="Unserved",type=integer,priority=1,JSONPath=`.status.claims.unservedRuns`
// +kubebuilder:printcolumn:name="Stale",type=integer,priority=1,JSONPath=`.status.claims.staleRuns`
// +kubebuilder:printcolumn:name="Recovered",type=integer,priority=1,JSONPath=`.status.claims.leasesRecovered`
// +kubebuilder:printcolumn:name="Draining",type=integer,priority=1,JSONPath=`.status.drainingReplicas`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 52",reason=FieldValueInvalid,message="metadata.name must have at most 52 characters, because Deployment, ServiceAccount and labels are made from it: choose a shorter one; spec.poolName may have 63"
type JobPool struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what the pool should be.
	// +required
	Spec JobPoolSpec `json:"spec,omitzero"`

	// status is what was observed of the pool.
	// +optional
	Status JobPoolStatus `json:"status,omitzero"`
}

// JobPoolList is a list of JobPools.
//
// +kubebuilder:object:root=true
type JobPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []JobPool `json:"items"`
}
