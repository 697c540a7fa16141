package egress

import (
	"errors"
	"net/netip"
	"testing"
)

func TestEgressRefusesReservedAddresses(t *testing.T) {
	guard, err := Public(nil)
	if err != nil {
		t.Fatal(err)
	}
	for addr, what := range map[string]string{
		"127.0.0.1": "loopback", "127.255.255.254": "loopback", "::1": "loopback",
		"0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "::": "unspecified",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private",
		"100.64.0.1": "carrier-grade NAT", "100.127.255.255": "carrier-grade NAT",
		"169.254.169.254": "the metadata service of clouds", "169.254.1.1": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "ff02::1": "multicast",
		"255.255.255.255": "reserved", "240.0.0.1": "reserved", "198.18.0.1": "benchmarking", "192.0.0.170": "protocol assignments",
		"168.63.129.16": "the platform service of a cloud", "::ffff:168.63.129.16": "the platform service of a cloud",
		"192.0.2.1": "documentation", "198.51.100.1": "documentation", "203.0.113.1": "documentation", "192.88.99.1": "a 6to4 relay",
		"::ffff:127.0.0.1": "loopback", "::ffff:10.1.2.3": "private", "::ffff:169.254.169.254": "the metadata service of clouds",
		"::127.0.0.1": "not global unicast", "::ffff:0:127.0.0.1": "not global unicast",
		"64:ff9b::7f00:1": "NAT64", "64:ff9b:1::7f00:1": "local NAT64", "2002:7f00:1::": "6to4", "2001::1": "protocol assignments",
		"fc00::1": "unique local", "fd00:ec2::254": "unique local", "fec0::1": "not global unicast", "100::1": "not global unicast",
		"2001:db8::1": "documentation", "3fff::1": "documentation", "5f00::1": "not global unicast",
	} {
		refused, ok := errors.AsType[*RefusedAddressError](guard.check(netip.MustParseAddr(addr)))
		if !ok || refused.What != what {
			t.Errorf("%s: got %v, want it refused as %q", addr, refused, what)
		}
	}
	for _, addr := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"} {
		if err := guard.check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: got %v, want it let out", addr, err)
		}
	}
}

// TestListedTranslationDoesNotOpenWhatItLeadsTo lists ranges of IPv6 that stand for IPv4 addresses.
func TestListedTranslationDoesNotOpenWhatItLeadsTo(t *testing.T) {
	guard, err := Public([]string{"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96", "::ffff:0:0:0/96", "10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, what := range map[string]string{
		"64:ff9b::127.0.0.1": "loopback", "64:ff9b::169.254.169.254": "the metadata service of clouds",
		"64:ff9b:1:fffe::127.0.0.1": "loopback", "2002:7f00:1::": "loopback", "2002:c0a8:101::1": "private",
		"::127.0.0.1": "loopback", "::ffff:0:127.0.0.1": "loopback",
	} {
		refused, ok := errors.AsType[*RefusedAddressError](guard.check(netip.MustParseAddr(addr)))
		if !ok || refused.What != what || !refused.Addr.Is4() {
			t.Errorf("%s: got %v, want the address that it leads to refused as %q", addr, refused, what)
		}
	}
	for _, addr := range []string{"64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "64:ff9b::10.1.2.3", "2002:808:808::1"} {
		if err := guard.check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: got %v, want it let out", addr, err)
		}
	}
}

func TestEgressAllowsListedRanges(t *testing.T) {
	guard, err := Public([]string{"10.1.2.3/16", "fd00:1::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.1.200.1": true, "::ffff:10.1.0.1": true, "10.2.0.1": false, "fd00:1::5": true, "fd00:2::5": false, "127.0.0.1": false,
	} {
		if got := guard.check(netip.MustParseAddr(addr)) == nil; got != want {
			t.Errorf("%s let out: %t, want %t", addr, got, want)
		}
	}
	for _, bad := range []string{"10.0.0.1", "10.0.0.0/33", "::ffff:10.0.0.0/104", "localhost/8", ""} {
		if _, err := Public([]string{bad}); err == nil {
			t.Errorf("range %q is taken, want an error", bad)
		}
	}
}

// Declared endpoints are usually in the cluster; what hands out credentials is out of reach in every form of its address.
func TestDeclaredEndpointsMayBePrivateButNeverMetadata(t *testing.T) {
	guard := Declared()
	for _, addr := range []string{
		"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "::1", "fd00::1", "1.1.1.1", "2606:4700::1111", "::ffff:10.1.2.3",
	} {
		if err := guard.check(netip.MustParseAddr(addr)); err != nil {
			t.Errorf("%s: got %v, want it let out", addr, err)
		}
	}
	for addr, what := range map[string]string{
		"169.254.169.254": "the metadata service of clouds", "169.254.170.2": "link-local", "::ffff:169.254.169.254": "the metadata service of clouds",
		"64:ff9b::169.254.169.254": "the metadata service of clouds", "2002:a9fe:a9fe::1": "the metadata service of clouds",
		"fd00:ec2::254": "the metadata service of a cloud", "fd00:ec2::23": "the metadata service of a cloud",
		"fd20:ce::254": "the metadata service of a cloud", "fd00:42::42": "the metadata service of a cloud",
		"100.100.100.200": "the metadata service of a cloud", "192.0.0.192": "the metadata service of a cloud",
		"168.63.129.16": "the platform service of a cloud", "fe80::1%eth0": "link-local", "0.0.0.0": "unspecified", "::": "unspecified",
		"224.0.0.1": "multicast", "ff02::1": "multicast", "255.255.255.255": "reserved",
	} {
		refused, ok := errors.AsType[*RefusedAddressError](guard.check(netip.MustParseAddr(addr)))
		if !ok || refused.What != what {
			t.Errorf("%s: got %v, want it refused as %q", addr, refused, what)
		}
	}
}
