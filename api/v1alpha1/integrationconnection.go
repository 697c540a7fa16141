package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IntegrationConnectionSpec says how to reach one account at one provider.
//
// +kubebuilder:validation:ExactlyOneOf=http
type IntegrationConnectionSpec struct {
	// provider names the provider, as rows and events carry it, such as github. It cannot change.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",reason=FieldValueInvalid,message="spec.provider cannot change, because rows and events carry it: create another IntegrationConnection and subscribe through that one"
	Provider string `json:"provider,omitempty"`

	// http is an account at an HTTP API.
	// +optional
	HTTP *HTTPConnection `json:"http,omitempty"`
}

// HTTPConnection is an account at an HTTP API.
type HTTPConnection struct {
	// baseURL is joined with a request's path, not resolved against it: https://host/api/v1 and /issues give
	// https://host/api/v1/issues. Its origin (scheme, host and port) is the only one that a run may follow links to.
	// +required
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('https://') || self.startsWith('http://')",reason=FieldValueInvalid,message="spec.http.baseURL must start with https:// (or http:// for a server without TLS): write the whole URL, such as https://api.example.com/v1"
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getHostname() != ''",reason=FieldValueInvalid,message="spec.http.baseURL is not an absolute URL with a host: write it like https://api.example.com/v1"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[a-z]+://[^/?#]*@')",reason=FieldValueForbidden,message="spec.http.baseURL must not hold a user name or password, because the resource is not secret: put them into a Secret and name it in spec.http.auth.basic"
	// +kubebuilder:validation:XValidation:rule="!self.contains('?') && !self.contains('#')",reason=FieldValueForbidden,message="spec.http.baseURL must not have a query or a fragment: put query parameters into spec.source.http.request.query of the IntegrationSubscription"
	BaseURL string `json:"baseURL,omitempty"`

	// auth says which credential a request carries; none when it is not set.
	// +optional
	Auth *HTTPAuth `json:"auth,omitempty"`

	// rateLimit bounds the requests of one worker process to this account; without it only the provider's own answers
	// (429 and Retry-After) slow a run down.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`

	// requestTimeoutSeconds bounds one request from dialling to the last byte of its answer, in seconds, 1 to 600.
	// +optional
	// +default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600
	RequestTimeoutSeconds int32 `json:"requestTimeoutSeconds,omitempty"`

	// egress says which addresses may be reached besides public ones.
	// +optional
	Egress *Egress `json:"egress,omitempty"`
}

// HTTPAuth is the credential that a request carries. Exactly one member is set.
//
// +kubebuilder:validation:ExactlyOneOf=basic;bearer
type HTTPAuth struct {
	// basic sends a user name and a password (RFC 7617).
	// +optional
	Basic *BasicAuth `json:"basic,omitempty"`

	// bearer sends a token in the Authorization header (RFC 6750).
	// +optional
	Bearer *BearerAuth `json:"bearer,omitempty"`
}

// BasicAuth takes a user name and a password from one Secret.
type BasicAuth struct {
	// secretRef names the Secret and its two keys.
	// +required
	SecretRef BasicSecretRef `json:"secretRef,omitzero"`
}

// BasicSecretRef names a Secret in the same namespace with a user name and a password. The default keys are those of a
// Secret of type kubernetes.io/basic-auth.
type BasicSecretRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// usernameKey is the key of the user name in the Secret.
	// +optional
	// +default="username"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	UsernameKey string `json:"usernameKey,omitempty"`

	// passwordKey is the key of the password in the Secret.
	// +optional
	// +default="password"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	PasswordKey string `json:"passwordKey,omitempty"`
}

// BearerAuth takes a token from a Secret.
type BearerAuth struct {
	// secretRef names the Secret key that holds the token.
	// +required
	SecretRef TokenSecretRef `json:"secretRef,omitzero"`
}

// TokenSecretRef names one key of a Secret in the same namespace.
type TokenSecretRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is the key of the token in the Secret.
	// +optional
	// +default="token"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Key string `json:"key,omitempty"`
}

// RateLimit is a token bucket.
type RateLimit struct {
	// requestsPerSecond is how many requests may go out per second on average, 0.001 to 10000, such as 8 or "0.5".
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1m')) >= 0 && quantity(string(self)).compareTo(quantity('10k')) <= 0",reason=FieldValueInvalid,message="spec.http.rateLimit.requestsPerSecond must be from 0.001 to 10000: leave rateLimit out for no limit, or suspend the subscriptions to send nothing"
	RequestsPerSecond resource.Quantity `json:"requestsPerSecond,omitzero"`

	// burst is how many requests may go out at once after a pause, 1 to 10000.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Burst int32 `json:"burst,omitempty"`
}

// Egress says which addresses may be reached besides public ones.
type Egress struct {
	// allowedCIDRs lists address ranges that requests may reach although they are private, loopback, link-local or
	// otherwise reserved; all of those are refused unless listed, after the name was resolved.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",reason=FieldValueInvalid,message="spec.http.egress.allowedCIDRs takes address ranges such as 10.96.0.0/12 or fd00::/8: write a single address with /32 or /128"
	AllowedCIDRs []string `json:"allowedCIDRs,omitempty"`
}

// IntegrationConnectionStatus is what was observed of a connection.
// +kubebuilder:validation:MinProperties=1
type IntegrationConnectionStatus struct {
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

	// connectionID is the connection's id in the database, a UUID, as rows and events carry it.
	// +optional
	// +kubebuilder:validation:MinLength=36
	// +kubebuilder:validation:MaxLength=36
	ConnectionID string `json:"connectionID,omitempty"`

	// subscriptions is the number of IntegrationSubscriptions that use the connection.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Subscriptions *int32 `json:"subscriptions,omitempty"`
}

// IntegrationConnection is one account at one provider.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=iconn,categories=syncline
// +kubebuilder:selectablefield:JSONPath=`.spec.provider`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.provider`
// +kubebuilder:printcolumn:name="Subscriptions",type=integer,JSONPath=`.status.subscriptions`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,priority=1,JSONPath=`.spec.http.baseURL`
// +kubebuilder:printcolumn:name="ID",type=string,priority=1,JSONPath=`.status.connectionID`
type IntegrationConnection struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says how to reach the account.
	// +required
	Spec IntegrationConnectionSpec `json:"spec,omitzero"`

	// status is what was observed of the connection.
	// +optional
	Status IntegrationConnectionStatus `json:"status,omitzero"`
}

// IntegrationConnectionList is a list of IntegrationConnections.
//
// +kubebuilder:object:root=true
type IntegrationConnectionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []IntegrationConnection `json:"items"`
}
