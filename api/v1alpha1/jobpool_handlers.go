package v1alpha1

// JobHandler serves one job type by posting each of its runs to a URL, signed by Standard Webhooks. The answer says what
// becomes of the run; docs/handlers.md has the protocol.
type JobHandler struct {
	// type is the job type, as start names it; names that begin with "integration." are reserved.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('integration.')",reason=FieldValueForbidden,message="spec.handlers[].type must not begin with integration., because workers serve such types themselves: give the type another name"
	Type string `json:"type,omitempty"`

	// url receives the runs. Private addresses are allowed, those of metadata services and link-local ones never are;
	// redirects are not followed.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('https://') || self.startsWith('http://')",reason=FieldValueInvalid,message="spec.handlers[].url must start with https:// or http://: write the whole URL, such as http://invoices.shop.svc:8080/runs"
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getHostname() != ''",reason=FieldValueInvalid,message="spec.handlers[].url is not an absolute URL with a host: write it like http://invoices.shop.svc:8080/runs"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/?#]*@')",reason=FieldValueForbidden,message="spec.handlers[].url must not hold a user name or password, because the resource is not secret: let the endpoint check the signature by spec.handlers[].signingSecretRef instead"
	// +kubebuilder:validation:XValidation:rule="!self.contains('#')",reason=FieldValueForbidden,message="spec.handlers[].url must not have a fragment, which no server gets to see: leave out what begins with #"
	URL string `json:"url,omitempty"`

	// signingSecretRef names the Secret key that holds the secrets which sign the requests.
	// +required
	SigningSecretRef SigningSecretRef `json:"signingSecretRef,omitzero"`

	// timeoutSeconds bounds one request from dialling to the last byte of its answer, in seconds, 1 to 86400. The endpoint
	// may extend it while it works, through the callback that each request names.
	// +optional
	// +default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`

	// retry says how often and when a run is posted again after a failure. A run that was started with a maximum of its
	// own keeps that one.
	// +optional
	// +default={"maxAttempts":5}
	Retry HandlerRetry `json:"retry,omitzero"`
}

// SigningSecretRef names one key of a Secret in the same namespace.
type SigningSecretRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is the key in the Secret. Its value is one secret of Standard Webhooks (24 to 64 random bytes in base64, with
	// or without whsec_ before them), or up to four of them separated by white space: each signs, so that endpoints can
	// change over to a new one at their own time.
	// +optional
	// +default="signing-secret"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Key string `json:"key,omitempty"`
}

// Backoff says how the delays between attempts grow.
// +kubebuilder:validation:Enum=Exponential;Fixed
type Backoff string

const (
	// BackoffExponential doubles the delay with every attempt.
	BackoffExponential Backoff = "Exponential"
	// BackoffFixed keeps it as it is.
	BackoffFixed Backoff = "Fixed"
)

// HandlerRetry says how often and when a run is posted again after a failure.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.initialDelaySeconds) || !has(self.maxDelaySeconds) || self.initialDelaySeconds <= self.maxDelaySeconds",fieldPath=".maxDelaySeconds",reason=FieldValueInvalid,message="spec.handlers[].retry.maxDelaySeconds must not be less than initialDelaySeconds: raise it, or lower initialDelaySeconds"
type HandlerRetry struct {
	// maxAttempts is the number of executions, the first included, 1 to 100.
	// +optional
	// +default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxAttempts int32 `json:"maxAttempts,omitempty"`

	// backoff is Exponential when the delay doubles with every attempt, Fixed when it does not. Every delay is shortened
	// by a random part, so that runs which failed together do not come back together.
	// +optional
	// +default="Exponential"
	Backoff Backoff `json:"backoff,omitempty"`

	// initialDelaySeconds is the longest delay before the second attempt, in seconds, 1 to 86400.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`

	// maxDelaySeconds is the longest delay before any attempt, in seconds, 1 to 86400. An endpoint that asks for more by
	// Retry-After gets it.
	// +optional
	// +default=900
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	MaxDelaySeconds int32 `json:"maxDelaySeconds,omitempty"`
}
