package v1alpha1

// Conditions that every kind has. Ready is the summary; Reconciling and Stalled are what kstatus reads, so that
// kubectl wait, Helm and GitOps tools know whether to wait or to give up. Every condition of a kind is present from the
// first reconcile on, Unknown until something was observed.
const (
	// ConditionReady is the summary: True when the resource does what its spec says. Surfaces when anything a user
	// should know about keeps it from that; its reason and message are those of the condition that is to blame.
	ConditionReady = "Ready"
	// ConditionReconciling is True while the operator is still working towards the spec, or waits for something that may
	// appear by itself. Surfaces when the spec changed, or something that it refers to is missing.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when only a change by the user helps. Surfaces when the spec is accepted by the schema but
	// cannot work, such as an expression that does not compile.
	ConditionStalled = "Stalled"
)

// Conditions of a JobPool.
const (
	// ConditionDatabaseReachable is True while the pool's database answers. Surfaces when the Secret, its key or the
	// database is missing or refuses the connection.
	ConditionDatabaseReachable = "DatabaseReachable"
	// ConditionSchemaCurrent is True when Syncline's schema in the database is one that this operator works with.
	// Surfaces when a migration was not possible, or the schema is newer than the operator.
	ConditionSchemaCurrent = "SchemaCurrent"
	// ConditionHandlersReady is True when every handler has its signing secret. Surfaces when a Secret or its key is
	// missing or holds no signing secret, or the sealing key is lost; the message names it. A handler without its secret is
	// not served meanwhile, its runs wait; the others are.
	ConditionHandlersReady = "HandlersReady"
	// ConditionWorkersAvailable is True when the Deployment has the pods that were asked for. Surfaces when pods are
	// missing, not ready or refused.
	ConditionWorkersAvailable = "WorkersAvailable"
	// ConditionClaimsHealthy is True when runs are claimed and leases renewed. Surfaces when due runs find no worker,
	// workers have stopped beating, or the pool is held; Unknown while the database cannot be read.
	ConditionClaimsHealthy = "ClaimsHealthy"
)

// Conditions of an IntegrationConnection.
const (
	// ConditionCredentialsReady is True when the credential could be read and sealed, or none is needed. Surfaces when
	// the Secret or its key is missing, or the sealing key is lost.
	ConditionCredentialsReady = "CredentialsReady"
	// ConditionPublished is True when the connection's row stands in every database whose subscriptions use it. Surfaces
	// when a database cannot be written, or another cluster's resource owns the row.
	ConditionPublished = "Published"
)

// Conditions of an IntegrationSubscription.
const (
	// ConditionExpressionsCompiled is True when every expression compiles and the schedule is one that fires. Surfaces
	// when one does not; the message names the field and where in the expression.
	ConditionExpressionsCompiled = "ExpressionsCompiled"
	// ConditionConnectionReady is True when the IntegrationConnection exists and its row is in the database. Surfaces when
	// it is missing or not ready.
	ConditionConnectionReady = "ConnectionReady"
	// ConditionPoolReady is True when the JobPool exists and its database answers. Surfaces when it is missing, not
	// ready, or on another database than the subscription's rows.
	ConditionPoolReady = "PoolReady"
	// ConditionSinkReady is True when the table exists and its columns fit the mapping. Surfaces when it is missing, a
	// column has another type, or the database role lacks a right; the message names it.
	ConditionSinkReady = "SinkReady"
	// ConditionRunsSucceeding is True while runs end well. Surfaces when several runs in a row have failed, or a run holds
	// the cursor because too many records are bad; Unknown before the first run.
	ConditionRunsSucceeding = "RunsSucceeding"
)

// Reasons that several conditions share.
const (
	// ReasonPending surfaces when nothing has been observed yet.
	ReasonPending = "Pending"
	// ReasonSucceeded surfaces when the resource does what its spec says.
	ReasonSucceeded = "Succeeded"
	// ReasonProgressing surfaces when the operator still works towards the spec.
	ReasonProgressing = "Progressing"
	// ReasonWaiting surfaces when something that may appear by itself is missing; the message names it.
	ReasonWaiting = "Waiting"
	// ReasonNotStalled surfaces when no change by the user is needed.
	ReasonNotStalled = "NotStalled"
	// ReasonSecretMissing surfaces when the Secret that the spec names does not exist.
	ReasonSecretMissing = "SecretMissing"
	// ReasonSecretKeyMissing surfaces when the Secret exists, but lacks the key or has it empty.
	ReasonSecretKeyMissing = "SecretKeyMissing"
	// ReasonInvalidURI surfaces when the Secret's value is not a PostgreSQL connection URI.
	ReasonInvalidURI = "InvalidURI"
	// ReasonDatabaseUnreachable surfaces when the database does not answer or refuses the connection.
	ReasonDatabaseUnreachable = "DatabaseUnreachable"
	// ReasonNameTaken surfaces when the row of that name belongs to another resource, namespace or cluster.
	ReasonNameTaken = "NameTaken"
	// ReasonNewerGeneration surfaces when the row was written from a newer generation of the resource, as it happens
	// after a restore from an old backup.
	ReasonNewerGeneration = "NewerGeneration"
	// ReasonSealingKeyLost surfaces when the namespace holds sealed credentials, but the Secret with the key is missing or
	// is not the one that sealed them.
	ReasonSealingKeyLost = "SealingKeyLost"
)

// Reasons of a JobPool's conditions.
const (
	// ReasonDatabaseReachable surfaces when the database answers.
	ReasonDatabaseReachable = "DatabaseReachable"
	// ReasonSchemaCurrent surfaces when the schema is the one that this operator writes, or one that it works with.
	ReasonSchemaCurrent = "SchemaCurrent"
	// ReasonSchemaTooNew surfaces when the schema is newer than this operator can work with: update the operator.
	ReasonSchemaTooNew = "SchemaTooNew"
	// ReasonMigrationFailed surfaces when a migration ended with an error.
	ReasonMigrationFailed = "MigrationFailed"
	// ReasonMissingGrant surfaces when the database role lacks a right; the message holds the GRANT that helps.
	ReasonMissingGrant = "MissingGrant"
	// ReasonInvalidTemplate surfaces when the API server refuses the Deployment that spec.template leads to.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonNoHandlers surfaces when the spec declares none.
	ReasonNoHandlers = "NoHandlers"
	// ReasonHandlersSealed surfaces when every signing secret was read and sealed.
	ReasonHandlersSealed = "HandlersSealed"
	// ReasonInvalidSecret surfaces when the value of a signing secret's key cannot sign.
	ReasonInvalidSecret = "InvalidSecret"
	// ReasonReplicasReady surfaces when all pods that were asked for are ready.
	ReasonReplicasReady = "ReplicasReady"
	// ReasonReplicasUnready surfaces when pods are missing or not ready.
	ReasonReplicasUnready = "ReplicasUnready"
	// ReasonScaledToZero surfaces when no pods were asked for.
	ReasonScaledToZero = "ScaledToZero"
	// ReasonDeploymentMissing surfaces when the Deployment does not exist yet.
	ReasonDeploymentMissing = "DeploymentMissing"
	// ReasonLeasesRenewed surfaces when every worker beats in time and due runs are claimed.
	ReasonLeasesRenewed = "LeasesRenewed"
	// ReasonNoWorkers surfaces when runs are due, but no worker has a lease.
	ReasonNoWorkers = "NoWorkers"
	// ReasonStaleLeases surfaces when runs are held by workers whose lease has ended.
	ReasonStaleLeases = "StaleLeases"
	// ReasonTypesUnserved surfaces when runs are due whose job type no live worker of the pool serves, as while a rollout
	// is under way; status.claims.unservedTypes names the types.
	ReasonTypesUnserved = "TypesUnserved"
	// ReasonHeld surfaces when spec.stopPolicy is Hold or HoldAndDrain.
	ReasonHeld = "Held"
)

// Reasons of an IntegrationConnection's conditions.
const (
	// ReasonSealed surfaces when the credential was read and sealed.
	ReasonSealed = "Sealed"
	// ReasonNoCredential surfaces when the spec asks for none.
	ReasonNoCredential = "NoCredential"
	// ReasonPublished surfaces when the row stands in every database that needs it.
	ReasonPublished = "Published"
	// ReasonNotUsed surfaces when no subscription uses the connection, so that no database needs its row.
	ReasonNotUsed = "NotUsed"
)

// Reasons of an IntegrationSubscription's conditions.
const (
	// ReasonCompiled surfaces when every expression compiles.
	ReasonCompiled = "Compiled"
	// ReasonCompileFailed surfaces when an expression does not compile.
	ReasonCompileFailed = "CompileFailed"
	// ReasonInvalidSchedule surfaces when cron or time zone cannot be read, or no time ever matches.
	ReasonInvalidSchedule = "InvalidSchedule"
	// ReasonConnectionReady surfaces when the connection is ready.
	ReasonConnectionReady = "ConnectionReady"
	// ReasonConnectionMissing surfaces when no IntegrationConnection has that name.
	ReasonConnectionMissing = "ConnectionMissing"
	// ReasonConnectionNotReady surfaces when the connection exists, but is not ready.
	ReasonConnectionNotReady = "ConnectionNotReady"
	// ReasonPoolReady surfaces when the pool's database answers.
	ReasonPoolReady = "PoolReady"
	// ReasonPoolMissing surfaces when no JobPool has that name.
	ReasonPoolMissing = "PoolMissing"
	// ReasonPoolNotReady surfaces when the pool exists, but its database does not answer or its schema is not current.
	ReasonPoolNotReady = "PoolNotReady"
	// ReasonPoolOnOtherDatabase surfaces when spec.poolRef was moved to a pool on another database, where neither table
	// nor cursor is: point it back, or create another subscription.
	ReasonPoolOnOtherDatabase = "PoolOnOtherDatabase"
	// ReasonSinkReady surfaces when table and mapping fit.
	ReasonSinkReady = "SinkReady"
	// ReasonTableMissing surfaces when the table does not exist and spec.sink.management is Existing.
	ReasonTableMissing = "TableMissing"
	// ReasonColumnMismatch surfaces when a column is missing or has another type than the mapping.
	ReasonColumnMismatch = "ColumnMismatch"
	// ReasonSinkUnusable surfaces when the table cannot be used for another reason, which the message names.
	ReasonSinkUnusable = "SinkUnusable"
	// ReasonRunsSucceeding surfaces when the newest runs ended well.
	ReasonRunsSucceeding = "RunsSucceeding"
	// ReasonRunFailed surfaces when runs fail, but fewer in a row than would make the subscription not ready.
	ReasonRunFailed = "RunFailed"
	// ReasonRunsFailing surfaces when too many runs in a row have failed.
	ReasonRunsFailing = "RunsFailing"
	// ReasonCursorStuck surfaces when the cursor stays because records before it are neither applied nor set aside.
	ReasonCursorStuck = "CursorStuck"
	// ReasonNoRunYet surfaces before the first run.
	ReasonNoRunYet = "NoRunYet"
	// ReasonSuspended surfaces when spec.suspend is true.
	ReasonSuspended = "Suspended"
)

// Reasons of Events; an Event is written when something changes, never while it stays.
const (
	// EventScaledUp surfaces when the operator raised the number of worker pods.
	EventScaledUp = "ScaledUp"
	// EventScaledDown surfaces when the operator lowered the number of worker pods.
	EventScaledDown = "ScaledDown"
	// EventLeasesRecovered surfaces when a sweep put runs of a dead worker back.
	EventLeasesRecovered = "LeasesRecovered"
	// EventDatabaseUnreachable surfaces when the database stopped answering.
	EventDatabaseUnreachable = "DatabaseUnreachable"
	// EventDatabaseRecovered surfaces when the database answers again.
	EventDatabaseRecovered = "DatabaseRecovered"
	// EventSecretRotated surfaces when a Secret that the resource uses got another value.
	EventSecretRotated = "SecretRotated"
	// EventRolloutStarted surfaces when the pod template changed and pods are replaced.
	EventRolloutStarted = "RolloutStarted"
	// EventInvalidTemplate surfaces when the API server refused the Deployment.
	EventInvalidTemplate = "InvalidTemplate"
	// EventNameTaken surfaces when the row of that name turned out to belong to another resource.
	EventNameTaken = "NameTaken"
	// EventRunRequested surfaces when the annotation asked for a run.
	EventRunRequested = "RunRequested"
	// EventRunFailed surfaces when the first run of a row of failing ones failed.
	EventRunFailed = "RunFailed"
	// EventRunsRecovered surfaces when a run ended well after failing ones.
	EventRunsRecovered = "RunsRecovered"
	// EventCursorStuck surfaces when bad records began to hold the cursor.
	EventCursorStuck = "CursorStuck"
	// EventSuspended surfaces when the schedule was suspended or resumed.
	EventSuspended = "Suspended"
	// EventPoolMissing surfaces when the JobPool of a subscription is missing.
	EventPoolMissing = "PoolMissing"
	// EventRecordsQuarantined surfaces when a run set records aside.
	EventRecordsQuarantined = "RecordsQuarantined"
	// EventDatabaseReleased surfaces when a resource was deleted without its rows, because the database was gone.
	EventDatabaseReleased = "DatabaseReleased"
)
