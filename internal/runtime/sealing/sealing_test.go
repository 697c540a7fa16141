package sealing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

var (
	row    = uuid.MustParse("0190163d-8694-739b-aea5-966c26f8ad91")
	other  = uuid.MustParse("0190163d-8694-739b-aea5-966c26f8ad92")
	secret = []byte(`{"token":"hunter2"}`)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// reread is the keyset after a trip through the Secret.
func reread(k *Keyset) *Keyset { return must(Parse(must(k.JSON()))) }

func TestOpensWhatWasSealedForTheSamePlace(t *testing.T) {
	k := must(NewKeyset())
	for _, plain := range [][]byte{secret, {}, bytes.Repeat([]byte("x"), 1<<20)} {
		sealed := must(k.Seal(plain, row, "credential"))
		if bytes.Contains(sealed, []byte("hunter2")) {
			t.Fatal("the sealed value shows the secret")
		}
		got, err := reread(k).Open(sealed, row, "credential")
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("opened %d bytes with error %v, want the %d sealed ones", len(got), err, len(plain))
		}
	}
}

func TestSealsEveryTimeAnew(t *testing.T) {
	k := must(NewKeyset())
	if bytes.Equal(must(k.Seal(secret, row, "c")), must(k.Seal(secret, row, "c"))) {
		t.Error("two seals of one secret are equal: the nonce repeats")
	}
}

func TestRefusesWhatWasMovedOrChanged(t *testing.T) {
	k := must(NewKeyset())
	sealed := must(k.Seal(secret, row, "credential"))
	open := func(sealed []byte, id uuid.UUID, column string) error {
		_, err := k.Open(sealed, id, column)
		return err
	}
	if err := open(sealed, other, "credential"); !errors.Is(err, ErrTampered) {
		t.Errorf("another row: error %v, want ErrTampered", err)
	}
	if err := open(sealed, row, "credentials"); !errors.Is(err, ErrTampered) {
		t.Errorf("another column: error %v, want ErrTampered", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		err := open(changed, row, "credential")
		if inKeyID := i >= 1 && i < 5; inKeyID != errors.Is(err, ErrUnknownKey) || inKeyID == errors.Is(err, ErrTampered) {
			t.Errorf("byte %d changed: error %v", i, err)
		}
		if err := open(sealed[:i], row, "credential"); !errors.Is(err, ErrTampered) {
			t.Errorf("cut to %d bytes: error %v, want ErrTampered", i, err)
		}
	}
}

func TestRotationKeepsOldValuesReadable(t *testing.T) {
	first := must(NewKeyset())
	old := must(first.Seal(secret, row, "c"))
	second := reread(must(first.Rotate()))
	third := reread(must(second.Rotate()))
	recent := must(second.Seal(secret, row, "c"))
	if first.PrimaryKeyID() == second.PrimaryKeyID() || second.PrimaryKeyID() == third.PrimaryKeyID() {
		t.Fatal("rotation kept the primary key")
	}
	if id, ok := KeyID(recent); !ok || id != second.PrimaryKeyID() {
		t.Errorf("new values carry key %d, want the new primary %d", id, second.PrimaryKeyID())
	}
	for _, sealed := range [][]byte{old, recent} {
		if got, err := third.Open(sealed, row, "c"); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("after two rotations: %q, %v", got, err)
		}
	}
	if _, err := first.Open(recent, row, "c"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("the keyset before the rotation gives %v, want ErrUnknownKey", err)
	}
}

func TestDisabledKeysAreUnknown(t *testing.T) {
	first := must(NewKeyset())
	sealed := must(first.Seal(secret, row, "c"))
	manager := keyset.NewManagerFromHandle(must(first.Rotate()).handle)
	if err := manager.Disable(first.PrimaryKeyID()); err != nil {
		t.Fatal(err)
	}
	k := must(fromHandle(must(manager.Handle())))
	if _, err := k.Open(sealed, row, "c"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("error %v, want ErrUnknownKey", err)
	}
}

func TestParseRefuses(t *testing.T) {
	inClear := func(template *tinkpb.KeyTemplate) string {
		var b bytes.Buffer
		if err := insecurecleartextkeyset.Write(must(keyset.NewHandle(template)), keyset.NewJSONWriter(&b)); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"nothing":               "",
		"no JSON":               "hunter2",
		"an empty object":       "{}",
		"keys of another kind":  inClear(mac.HMACSHA256Tag256KeyTemplate()),
		"a key without its id":  inClear(aead.AES256GCMNoPrefixKeyTemplate()),
		"a key without a value": `{"primaryKeyId":1,"key":[{"keyId":1,"status":"ENABLED","outputPrefixType":"TINK"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			k, err := Parse([]byte(text))
			if err == nil {
				t.Fatalf("parsed %v, want an error", k)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %q quotes the text", err)
			}
		})
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	k := must(NewKeyset())
	var exported struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err := json.Unmarshal(must(k.JSON()), &exported); err != nil {
		t.Fatal(err)
	}
	material := exported.Key[0].KeyData.Value
	if len(material) < 40 {
		t.Fatalf("the keyset's JSON holds no key material: the test is wrong")
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", k, *k)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("keyset", "pointer", k, "value", *k, "file", &File{keyset: k})
	fmt.Fprint(&out, string(must(json.Marshal(k)))) //nolint:staticcheck // that nothing is exported is what is tested
	raw := must(k.Seal(secret, row, "c"))
	_, err := k.Open(raw, other, "c")
	fmt.Fprint(&out, err)
	if s := out.String(); strings.Contains(s, material) || strings.Contains(s, "hunter2") {
		t.Errorf("printed key material or plain text: %s", s)
	}
	if !strings.Contains(out.String(), strconv.FormatUint(uint64(k.PrimaryKeyID()), 10)) {
		t.Error("a printed keyset should name its keys by id")
	}
}

func TestFileReadsAgainForAnUnknownKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	write := func(k *Keyset) {
		if err := os.WriteFile(path, must(k.JSON()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := NewFile(path)
	if _, err := f.Open(nil, row, "c"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without a file: error %v, want os.ErrNotExist", err)
	}
	first := must(NewKeyset())
	write(first)
	old := must(first.Seal(secret, row, "c"))
	if got, err := f.Open(old, row, "c"); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("opened %q with error %v", got, err)
	}
	second := must(first.Rotate())
	recent := must(second.Seal(secret, row, "c"))
	if _, err := f.Open(recent, row, "c"); !errors.Is(err, ErrUnknownKey) {
		t.Fatalf("before the file changed: error %v, want ErrUnknownKey", err)
	}
	write(second)
	for _, sealed := range [][]byte{recent, old} {
		if got, err := f.Open(sealed, row, "c"); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("after the file changed: %q, %v", got, err)
		}
	}
}

func TestFileKeepsItsKeysWhenTheFileIsBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	first := must(NewKeyset())
	if err := os.WriteFile(path, must(first.JSON()), 0o600); err != nil {
		t.Fatal(err)
	}
	f := NewFile(path)
	sealed := must(first.Seal(secret, row, "c"))
	if _, err := f.Open(sealed, row, "c"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(must(must(first.Rotate()).Seal(secret, row, "c")), row, "c"); err == nil || errors.Is(err, ErrTampered) {
		t.Errorf("an unknown key and a broken file: error %v, want one about the file", err)
	}
	if _, err := f.Open(sealed, row, "c"); err != nil {
		t.Errorf("a known key and a broken file: %v", err)
	}
}

func TestNoFileSaysWhatToDo(t *testing.T) {
	var f *File
	if _, err := f.Open(secret, row, "c"); !errors.Is(err, ErrNoKeyset) || !strings.Contains(err.Error(), "--sealing-keyset-file") {
		t.Errorf("error %v, want ErrNoKeyset with the flag", err)
	}
	if got := f.String(); got != "no keyset" {
		t.Errorf("prints as %q", got)
	}
}

func FuzzOpen(f *testing.F) {
	k := must(NewKeyset())
	f.Add(must(k.Seal(secret, row, "c")))
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if _, err := k.Open(sealed, other, "c"); err == nil {
			t.Error("opened a value for a row that it was not sealed for")
		}
	})
}
