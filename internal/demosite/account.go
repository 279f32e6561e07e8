package demosite

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sessionCookie holds the token of a browser; nameCookie only the first name,
// so that cacheable pages can greet by script without asking the server.
const (
	sessionCookie = "shop_session"
	nameCookie    = "shop_name"
	sessionLength = time.Hour
)

// user is a first name in lower case.
type user string

func (u user) email() string { return string(u) + "@example.com" }

// accounts knows the seeded users and signs their sessions. A token carries its
// own proof, so that every region accepts it at once and nothing is stored.
type accounts struct {
	key      []byte
	password string
	users    []user
}

func newAccounts(password string) *accounts {
	a := &accounts{key: make([]byte, 32), password: password, users: []user{"alice", "bob", "carol", "dave"}}
	_, _ = rand.Read(a.key) // never returns an error
	return a
}

func (a *accounts) sign(purpose, text string) string {
	mac := hmac.New(sha256.New, a.key)
	_, _ = mac.Write([]byte(purpose + "\x00" + text))
	return hex.EncodeToString(mac.Sum(nil))
}

// canary is a value that only this user's own responses may contain.
func (a *accounts) canary(u user) string { return "canary-" + a.sign("canary", string(u))[:32] }

// login returns the user if the e-mail address is known and the password right.
func (a *accounts) login(email, password string) (user, bool) {
	i := slices.IndexFunc(a.users, func(u user) bool { return strings.EqualFold(u.email(), strings.TrimSpace(email)) })
	// Signatures are compared, so that the time taken tells nothing.
	if i < 0 || !hmac.Equal([]byte(a.sign("password", password)), []byte(a.sign("password", a.password))) {
		return "", false
	}
	return a.users[i], true
}

// token proves until the session's end that its bearer is u: name.expiry.signature.
func (a *accounts) token(u user, now time.Time) string {
	claim := string(u) + "." + strconv.FormatInt(now.Add(sessionLength).Unix(), 10)
	return claim + "." + a.sign("session", claim)
}

func (a *accounts) verify(token string, now time.Time) (user, bool) {
	i := max(0, strings.LastIndexByte(token, '.'))
	claim, proof := token[:i], strings.TrimPrefix(token[i:], ".")
	if !hmac.Equal([]byte(proof), []byte(a.sign("session", claim))) {
		return "", false
	}
	name, expiry, _ := strings.Cut(claim, ".")
	until, err := strconv.ParseInt(expiry, 10, 64)
	return user(name), err == nil && now.Unix() < until
}

// user tells who sent r, by bearer token or else by session cookie.
func (a *accounts) user(r *http.Request) (user, bool) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		u, known := a.verify(strings.TrimSpace(token), time.Now())
		return u, known && strings.EqualFold(scheme, "Bearer")
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return "", false
	}
	return a.verify(c.Value, time.Now())
}

// remember sets the cookies of a browser that has just signed in. They are not
// marked Secure because the site speaks plain HTTP on a loopback address.
func remember(h http.Header, u user, token string) {
	for _, c := range []http.Cookie{
		{Name: sessionCookie, Value: token, HttpOnly: true},
		{Name: nameCookie, Value: string(u)},
	} {
		c.Path, c.MaxAge, c.SameSite = "/", int(sessionLength/time.Second), http.SameSiteLaxMode
		h.Add("Set-Cookie", c.String())
	}
}
