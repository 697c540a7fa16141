// Package egress decides which addresses this process may dial, after names were resolved: a name that resolves to
// something else the second time gains nothing.
//
// A Guard made by Public lets requests out to the public Internet and to listed ranges: for addresses that a user names
// and the provider's answers may move. One made by Declared also lets them into private networks: for endpoints that the
// owner of the pods declares. Neither reaches what hands out credentials unless its range is listed.
package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// reservedRange is a range that requests may not reach, after the IANA registries of special-purpose addresses.
type reservedRange struct {
	prefix netip.Prefix
	what   string
}

// reserved4 lists what of IPv4 is not the public Internet.
var reserved4 = []reservedRange{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "the platform service of a cloud"}, // Azure's, although it looks public
	{netip.MustParsePrefix("169.254.169.254/32"), "the metadata service of clouds"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
}

// reserved6 lists what of 2000::/3 is not the public Internet, and names some of what lies outside of it, which is
// refused as a whole.
var reserved6 = []reservedRange{
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("64:ff9b::/96"), "NAT64"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local NAT64"},
	{netip.MustParsePrefix("fc00::/7"), "unique local"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
}

var globalUnicast6 = netip.MustParsePrefix("2000::/3")

// reservedAs names the reserved range that addr is in, "" when it is public.
func reservedAs(addr netip.Addr) string {
	ranges := reserved4
	if addr.Is6() {
		ranges = reserved6
	}
	for _, r := range ranges {
		if r.prefix.Contains(addr) {
			return r.what
		}
	}
	if addr.Is6() && !globalUnicast6.Contains(addr) {
		return "not global unicast"
	}
	return ""
}

// RefusedAddressError says that a request was not let out.
type RefusedAddressError struct {
	Addr netip.Addr
	// What names the kind of the address, such as "private".
	What string
}

// Error names the address.
func (e *RefusedAddressError) Error() string { return fmt.Sprintf("address %s is %s", e.Addr, e.What) }

// Guard decides which addresses may be dialled. It is immutable.
type Guard struct {
	allowed  []netip.Prefix
	reserved func(netip.Addr) string
}

// Public refuses every address that is private, loopback, link-local or otherwise reserved, unless one of the ranges
// holds it. An error names a text that is no range.
func Public(cidrs []string) (*Guard, error) {
	e := &Guard{reserved: reservedAs}
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return nil, fmt.Errorf("egress.allowedCIDRs: %q is not a range such as 10.0.0.0/8", c)
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("egress.allowedCIDRs: write %q as an IPv4 range", c)
		}
		e.allowed = append(e.allowed, p.Masked())
	}
	return e, nil
}

// check refuses a reserved address that is not listed. An IPv4 address in IPv6 form counts as what it stands for; where
// a listed range translates to IPv4, the address that is reached in the end has to pass as well.
func (e *Guard) check(addr netip.Addr) error {
	plain := addr.Unmap().WithZone("")
	listed := slices.ContainsFunc(e.allowed, func(p netip.Prefix) bool { return p.Contains(plain) })
	if what := e.reserved(plain); what != "" && !listed {
		return &RefusedAddressError{Addr: plain, What: what}
	}
	if inner, ok := translated(plain); ok {
		return e.check(inner)
	}
	return nil
}

// translations are the ranges of IPv6 that stand for IPv4 addresses, and the byte at which such an address begins: NAT64
// (RFC 6052; of a local prefix the usual /96 is assumed, RFC 8215), IPv4-compatible and IPv4-translated addresses, 6to4
// (RFC 3056).
var translations = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// translated gives the IPv4 address that an IPv6 address leads to.
func translated(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() || addr.IsLoopback() || addr.IsUnspecified() {
		return netip.Addr{}, false
	}
	for _, t := range translations {
		if t.prefix.Contains(addr) {
			all := addr.As16()
			return netip.AddrFrom4([4]byte(all[t.at : t.at+4])), true
		}
	}
	return netip.Addr{}, false
}

// never lists what no declared endpoint is: what hands out credentials to whoever can connect, and what is no address of
// one machine. Private ranges, loopback and carrier-grade NAT are what clusters are made of.
var never = []reservedRange{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("100.100.100.200/32"), "the metadata service of a cloud"}, // Alibaba's
	{netip.MustParsePrefix("168.63.129.16/32"), "the platform service of a cloud"},   // Azure's
	{netip.MustParsePrefix("169.254.169.254/32"), "the metadata service of clouds"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("192.0.0.192/32"), "the metadata service of a cloud"}, // Oracle's
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "the metadata service of a cloud"},    // AWS': instances, and pods' credentials
	{netip.MustParsePrefix("fd00:42::42/128"), "the metadata service of a cloud"},  // Scaleway's
	{netip.MustParsePrefix("fd20:ce::254/128"), "the metadata service of a cloud"}, // Google's
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// Declared refuses only metadata services, link-local addresses and what is no address of one machine.
func Declared() *Guard {
	return &Guard{reserved: func(addr netip.Addr) string {
		for _, r := range never {
			if r.prefix.Contains(addr) {
				return r.what
			}
		}
		return ""
	}}
}

// control runs after name resolution, on each address that is about to be dialled: a name that resolves to something
// else the second time gains nothing.
func (e *Guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read address to dial: %w", err)
	}
	return e.check(to.Addr())
}

// Dialer asks the guard about each address before it connects; what it refuses is a *RefusedAddressError.
func (e *Guard) Dialer() *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, ControlContext: e.control}
}
