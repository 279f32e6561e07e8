package httprunner

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"lastmile/internal/clientcert"
	"lastmile/internal/scenario"
)

// setBody makes the body that all requests of the step have.
func (p *plan) setBody() {
	var err error
	switch step := p.step; {
	case step.Body != "":
		p.body = []byte(p.expand("body", step.Body))
	case step.BodyBase64 != "":
		p.body, err = base64.StdEncoding.DecodeString(step.BodyBase64)
		p.check("bodyBase64", err)
	case step.JSON != nil:
		value, err := p.scope.ExpandJSON(step.JSON)
		p.check("json", err)
		p.body, err = json.Marshal(value)
		p.check("json", err)
		p.header.Set("Content-Type", "application/json")
	case step.Form != nil:
		form := url.Values{}
		for name, template := range step.Form {
			form.Set(name, p.expand("form "+name, template))
		}
		p.body = []byte(form.Encode())
		p.header.Set("Content-Type", "application/x-www-form-urlencoded")
	case step.Multipart != nil:
		p.setParts()
	}
}

// setParts makes a body of parts as browsers do (RFC 7578): parts that are no files have no type of their own unless the step says so,
// which means text/plain.
func (p *plan) setParts() {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for i := range p.step.Multipart {
		part := &p.step.Multipart[i]
		what := "multipart " + clip(part.Name, maxValue)
		content := []byte(p.expand(what, part.Value))
		if part.Base64 != "" {
			var err error
			content, err = base64.StdEncoding.DecodeString(part.Base64)
			p.check(what, err)
		}
		into, err := w.CreatePart(p.partHeader(what, part))
		if err == nil {
			_, err = into.Write(content)
		}
		p.check(what, err)
	}
	p.check("multipart", w.Close())
	p.body = out.Bytes()
	p.header.Set("Content-Type", w.FormDataContentType())
}

// partQuotes writes names as the HTML standard has it (section 4.10.21.8), and so that none ends its header.
var partQuotes = strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A")

func (p *plan) partHeader(what string, part *scenario.Part) textproto.MIMEHeader {
	header := textproto.MIMEHeader{}
	disposition, kind := `form-data; name="`+partQuotes.Replace(part.Name)+`"`, part.ContentType
	if part.Filename != "" {
		disposition += `; filename="` + partQuotes.Replace(p.expand(what, part.Filename)) + `"`
		if kind == "" {
			kind = "application/octet-stream"
		}
	}
	header.Set("Content-Disposition", disposition)
	if kind != "" {
		header.Set("Content-Type", strings.NewReplacer("\r", "", "\n", "").Replace(kind))
	}
	return header
}

// setAuth makes the Authorization header. It goes to no other host, as with all that is secret.
func (p *plan) setAuth() {
	auth := p.step.Auth
	if auth == nil {
		return
	}
	value := "Bearer " + p.expand("auth bearer", auth.Bearer)
	if basic := auth.Basic; basic != nil {
		user, password := p.expand("auth basic user", basic.User), p.expand("auth basic password", basic.Password)
		if strings.Contains(user, ":") {
			p.check("auth basic user", errColon)
		}
		value = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	p.header.Set("Authorization", value)
	p.secretHeaders = append(p.secretHeaders, "Authorization")
}

var errColon = errors.New("got one with a colon, want none: it ends the name (RFC 7617)")

// setIdentity reads the client certificate.
func (p *plan) setIdentity() {
	pair := p.step.ClientCert
	if pair == nil {
		return
	}
	cert, key := p.expand("clientCert cert", pair.Cert), p.expand("clientCert key", pair.Key)
	if p.err != nil {
		return
	}
	var err error
	p.identity, err = clientcert.Parse(cert, key)
	p.check("clientCert", err)
}

// elsewhere reports whether a request goes to another server than the step's first one, or in plain text where that was secure. What is
// secret stays with the first.
func elsewhere(first, next *http.Request) bool {
	return next.URL.Host != first.URL.Host || first.URL.Scheme == "https" && next.URL.Scheme != "https"
}
