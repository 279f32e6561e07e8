package clientcert_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"lastmile/internal/clientcert"
)

// pair makes a certificate and its key.
func pair(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "probe"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", secret)
}

func TestParse(t *testing.T) {
	cert, key := pair(t)
	otherCert, otherKey := pair(t)
	broken := strings.Replace(key, key[40:60], key[60:80], 1)
	const secret = "s3cr3t"
	for _, test := range []struct {
		name, cert, key, want string
	}{
		{"as it should be", cert, key, ""},
		{"with a chain", cert + otherCert, key, ""},
		{"with other text", "issued by us\n" + cert, "keep it safe\n" + key, ""},
		{"all in one", key + cert, cert + key, ""},
		{"nothing", "", "", "cert: want a certificate"},
		{"no certificate", secret, key, "cert: want a certificate"},
		{"the key for the certificate", key, key, "cert: want a certificate"},
		{"no key", cert, secret, "key: want a private key"},
		{"the certificate for the key", cert, cert, "key: want a private key"},
		{"the key of another", cert, otherKey, "key: the private key does not match"},
		{"a broken key", cert, broken, "key: want a private key"},
		{"a broken certificate", "-----BEGIN CERTIFICATE-----\nczNjcjN0\n-----END CERTIFICATE-----\n", key, "cert: want a certificate"},
		{"an odd kind of key", cert, "-----BEGIN s3cr3t PRIVATE KEY-----\nczNjcjN0\n-----END s3cr3t PRIVATE KEY-----\n", "key: want a private key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := clientcert.Parse(test.cert, test.key)
			if test.want == "" {
				if err != nil || id.Digest() == (clientcert.Digest{}) {
					t.Errorf("got %v, want an identity", err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, want %q and nothing of the texts", err, test.want)
			}
		})
	}
}

// TestIdentity shows what tells identities apart, and that one is shown to whoever asks.
func TestIdentity(t *testing.T) {
	cert, key := pair(t)
	otherCert, otherKey := pair(t)
	parse := func(cert, key string) *clientcert.Identity {
		id, err := clientcert.Parse(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	id, again, other := parse(cert, key), parse(cert+"\n", key+"\n"), parse(otherCert, otherKey)
	if id.Digest() != again.Digest() || id.Digest() == other.Digest() || parse(cert+otherCert, key).Digest() == id.Digest() {
		t.Error("got digests that do not tell identities apart, want one for each")
	}
	var config tls.Config
	id.Apply(&config)
	shown, err := config.GetClientCertificate(&tls.CertificateRequestInfo{AcceptableCAs: [][]byte{[]byte("another")}})
	block, _ := pem.Decode([]byte(cert))
	if err != nil || !bytes.Equal(shown.Certificate[0], block.Bytes) {
		t.Errorf("got %v, want the certificate, whoever the server trusts", err)
	}
	var none *clientcert.Identity
	config = tls.Config{}
	none.Apply(&config)
	if config.GetClientCertificate != nil || none.Digest() != (clientcert.Digest{}) {
		t.Error("got something of nobody, want nothing")
	}
}

func FuzzParse(f *testing.F) {
	cert, key := pair(f)
	f.Add(cert, key)
	f.Add(cert[:50], key)
	f.Add(key, cert)
	f.Add(cert, strings.Replace(key, "PRIVATE", "EC PRIVATE", 2))
	f.Fuzz(func(t *testing.T, cert, key string) {
		id, err := clientcert.Parse(cert, key)
		if (id == nil) != (err != nil) {
			t.Errorf("got %v and %v, want one of them", id, err)
		}
	})
}
