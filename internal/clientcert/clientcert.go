// Package clientcert reads what a step shows of itself to a server that asks (mutual TLS). Its errors never quote what they are about: a
// key is a secret.
package clientcert

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"strings"
)

// Identity is a client's certificate with its chain and its key.
type Identity struct {
	certificate tls.Certificate
	digest      Digest
}

// Digest tells identities apart; the zero value is that of none.
type Digest [sha256.Size]byte

var (
	errCert = errors.New("cert: want a certificate (PEM), its chain after it")
	errKey  = errors.New("key: want a private key (PEM) without a passphrase")
	errPair = errors.New("key: the private key does not match the certificate")
)

// Parse reads an identity from PEM: the certificate, its chain after it, and the key. Anything else in the texts is passed over.
func Parse(cert, key string) (*Identity, error) {
	if !has(cert, func(kind string) bool { return kind == "CERTIFICATE" }) {
		return nil, errCert
	}
	if !has(key, func(kind string) bool { return kind == "PRIVATE KEY" || strings.HasSuffix(kind, " PRIVATE KEY") }) {
		return nil, errKey
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	switch {
	case err == nil:
		id := &Identity{certificate: pair}
		hash := sha256.New()
		for _, der := range pair.Certificate {
			_, _ = hash.Write(der)
		}
		hash.Sum(id.digest[:0])
		return id, nil
	case strings.Contains(err.Error(), "does not match"): // the error itself may repeat what stands in the PEM
		return nil, errPair
	case strings.HasPrefix(err.Error(), "tls: failed to parse private key"), strings.HasPrefix(err.Error(), "tls: failed to find PEM block"):
		return nil, errKey
	}
	return nil, errCert
}

// has reports whether a PEM text has a block of some kind.
func has(text string, wanted func(kind string) bool) bool {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return false
		}
		if wanted(block.Type) {
			return true
		}
	}
}

// Digest tells this identity from others; that of nil is zero.
func (id *Identity) Digest() Digest {
	if id == nil {
		return Digest{}
	}
	return id.digest
}

// Apply makes a client's configuration show the identity to every server that asks, whichever authorities the server says it trusts: who
// asked for it wants to hear that the server does not take it. A nil identity changes nothing.
func (id *Identity) Apply(config *tls.Config) {
	if id != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.Certificate(), nil }
	}
}

// Certificate is what is shown: of a nil identity an empty one, which says that there is none.
func (id *Identity) Certificate() *tls.Certificate {
	if id == nil {
		return new(tls.Certificate)
	}
	return &id.certificate
}
