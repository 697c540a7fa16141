package v1alpha1

// FieldType is the PostgreSQL type of a column. Numbers stay exact: none of them goes through a binary floating point.
// +kubebuilder:validation:Enum=text;boolean;bigint;numeric;timestamptz;date;uuid;jsonb
type FieldType string

// The column types.
const (
	// FieldTypeText is text.
	FieldTypeText FieldType = "text"
	// FieldTypeBoolean is boolean.
	FieldTypeBoolean FieldType = "boolean"
	// FieldTypeBigint is a 64-bit integer.
	FieldTypeBigint FieldType = "bigint"
	// FieldTypeNumeric is a decimal of any size.
	FieldTypeNumeric FieldType = "numeric"
	// FieldTypeTimestamptz is an instant with microseconds.
	FieldTypeTimestamptz FieldType = "timestamptz"
	// FieldTypeDate is a day.
	FieldTypeDate FieldType = "date"
	// FieldTypeUUID is a UUID.
	FieldTypeUUID FieldType = "uuid"
	// FieldTypeJSONB is any JSON value.
	FieldTypeJSONB FieldType = "jsonb"
)

// FieldMapping is one column and where its value comes from. Exactly one of from and expr is set.
//
// +kubebuilder:validation:ExactlyOneOf=from;expr
type FieldMapping struct {
	// field is the name of the column.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z_][a-z0-9_]*$`
	// +kubebuilder:validation:XValidation:rule="!(self in ['id', 'connection_id', 'external_id', 'version', 'created_at', 'updated_at', 'deleted_at'])",reason=FieldValueInvalid,message="spec.mapping has a field with a name that every table has already (id, connection_id, external_id, version, created_at, updated_at, deleted_at): call the provider's own value something else, such as source_updated_at"
	Field string `json:"field,omitempty"`

	// from is the dotted path of the value in a record, such as user.login; a missing step gives NULL.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^.]+([.][^.]+)*$`
	From string `json:"from,omitempty"`

	// expr is a CEL expression over record that gives the value. Example: record.state == 'closed' ? 'done' : 'open'
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Expr string `json:"expr,omitempty"`

	// type is the column's type in PostgreSQL: text, boolean, bigint, numeric, timestamptz, date, uuid or jsonb.
	// +required
	Type FieldType `json:"type,omitempty"`

	// history says what the audit and change events tell of a change of this field: Values tells the values before and
	// after, Masked only that it changed and whether there was a value, Omitted nothing. The row holds the value in any
	// case, and so does a quarantined record.
	// +optional
	// +default="Values"
	History FieldHistory `json:"history,omitempty"`
}

// FieldHistory says what is told of a change of a field.
// +kubebuilder:validation:Enum=Values;Masked;Omitted
type FieldHistory string

const (
	// FieldHistoryValues tells the values before and after.
	FieldHistoryValues FieldHistory = "Values"
	// FieldHistoryMasked tells that the field changed, with "***" for each value that is not null.
	FieldHistoryMasked FieldHistory = "Masked"
	// FieldHistoryOmitted leaves the field out. A change of it alone is still a change, with a version and an event.
	FieldHistoryOmitted FieldHistory = "Omitted"
)

// SinkManagement says who makes the table.
// +kubebuilder:validation:Enum=Managed;Existing
type SinkManagement string

const (
	// SinkManaged creates the table and adds columns that are missing; it never drops or changes one.
	SinkManaged SinkManagement = "Managed"
	// SinkExisting uses the table as it is and reports what does not fit.
	SinkExisting SinkManagement = "Existing"
)

// SinkDelete says what a delete at the provider does to the row.
// +kubebuilder:validation:Enum=Soft;Hard;Ignore
type SinkDelete string

const (
	// SinkDeleteSoft sets deleted_at.
	SinkDeleteSoft SinkDelete = "Soft"
	// SinkDeleteHard removes the row.
	SinkDeleteHard SinkDelete = "Hard"
	// SinkDeleteIgnore leaves the row as it is.
	SinkDeleteIgnore SinkDelete = "Ignore"
)

// Sink is the table that receives the rows. Besides the mapped columns it has id, connection_id, external_id, version,
// created_at, updated_at and deleted_at.
type Sink struct {
	// schema is the PostgreSQL schema of the table.
	// +optional
	// +default="public"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z_][a-z0-9_]*$`
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('pg_') && self != 'information_schema'",reason=FieldValueInvalid,message="spec.sink.schema is a name that PostgreSQL reserves for itself: use another one, such as public"
	Schema string `json:"schema,omitempty"`

	// table is the name of the table.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z_][a-z0-9_]*$`
	Table string `json:"table,omitempty"`

	// management says who makes the table: Managed creates it and adds missing columns, Existing uses it as it is and
	// reports in the condition SinkReady what does not fit.
	// +optional
	// +default="Managed"
	Management SinkManagement `json:"management,omitempty"`

	// delete says what a delete at the provider does to the row: Soft sets deleted_at, Hard removes the row, Ignore leaves
	// it as it is.
	// +optional
	// +default="Soft"
	Delete SinkDelete `json:"delete,omitempty"`

	// diff tunes what counts as a change.
	// +optional
	Diff *Diff `json:"diff,omitempty"`
}

// Diff tunes what counts as a change.
type Diff struct {
	// ignore lists mapped fields whose change alone is no change: they are written with the next real one. At most 64.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Ignore []string `json:"ignore,omitempty"`
}
