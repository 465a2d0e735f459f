// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

const (
	seedSize     = 32 // of every plaintext that kube-apiserver sends
	statusCalls  = 20
	providerName = "oracle"
	secretKey    = "/registry/secrets/default/s1"
	otherKey     = "/registry/secrets/default/s2"
)

var helloEtcd = []byte("hello etcd")

// checker runs the checks against one plugin and counts what failed.
type checker struct {
	ctx      context.Context
	svc      kmsservice.Service
	endpoint string
	timeout  time.Duration
	failed   int
}

func (c *checker) report(ok bool, name, format string, args ...any) {
	verdict := "PASS"
	if !ok {
		verdict = "FAIL"
		c.failed++
	}
	fmt.Printf("%s %-34s %s\n", verdict, name, fmt.Sprintf(format, args...))
}

// info tells what the plugin does where kube-apiserver demands nothing.
func (c *checker) info(name, format string, args ...any) {
	fmt.Printf("INFO %-34s %s\n", name, fmt.Sprintf(format, args...))
}

// check is the check command. It returns the exit status.
func check(args []string) int {
	fs := flag.NewFlagSet("check", flag.ExitOnError)
	endpoint := fs.String("endpoint", "", "unix:///path or unix:///@abstract (required)")
	timeout := fs.Duration("timeout", 3*time.Second, "call timeout (kube-apiserver's default is 3s)")
	callers := fs.Int("concurrency", 8, "parallel callers of the load checks")
	calls := fs.Int("calls", 50, "calls of each caller")
	_ = fs.Parse(args)
	if *endpoint == "" {
		fs.Usage()
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	c := &checker{ctx: ctx, endpoint: *endpoint, timeout: *timeout}
	c.run(*callers, *calls)
	if c.failed > 0 {
		fmt.Printf("%d checks failed\n", c.failed)
		return 1
	}
	fmt.Println("all checks passed")
	return 0
}

func (c *checker) run(callers, calls int) {
	svc, err := kmsv2.NewGRPCService(c.ctx, c.endpoint, providerName, c.timeout)
	if err != nil {
		c.report(false, "dial", "%v", err)
		return
	}
	c.svc = svc

	st := c.status()
	if st == nil {
		return // without a Status nothing else can be told
	}
	sealed := c.roundTrip(st)
	if sealed == nil {
		return
	}
	c.refusals(sealed)
	c.survived(sealed)
	c.plaintextSizes()
	c.uids()
	c.envelope(true)
	c.envelope(false)
	c.loader()
	for _, op := range []string{"status", "encrypt", "decrypt"} {
		c.load(op, callers, calls)
	}
}

// status checks that Status is valid and stable.
func (c *checker) status() *kmsservice.StatusResponse {
	var first *kmsservice.StatusResponse
	var latency []time.Duration
	for range statusCalls {
		start := time.Now()
		st, err := c.svc.Status(c.ctx)
		latency = append(latency, time.Since(start))
		if err != nil {
			c.report(false, "status", "%s", describe(err))
			return nil
		}
		if first == nil {
			first = st
		} else if *st != *first {
			c.report(false, "status.stable", "changed from %+v to %+v", *first, *st)
		}
	}
	c.report(first.Healthz == "ok", "status.healthz", "%q", first.Healthz)
	c.report(first.Version == kmsv2.KMSAPIVersionv2 || first.Version == kmsv2.KMSAPIVersionv2beta1, "status.version", "%q", first.Version)
	_, err := kmsv2.ValidateKeyID(first.KeyID)
	c.report(err == nil, "status.key_id", "%d bytes, err=%v", len(first.KeyID), err)
	c.info("status.latency", "%s", percentiles(latency))
	return first
}

// sealed is a seed and what the plugin made of it.
type sealed struct {
	seed     []byte
	response *kmsservice.EncryptResponse
}

// roundTrip encrypts and decrypts a seed as kube-apiserver makes it.
func (c *checker) roundTrip(st *kmsservice.StatusResponse) *sealed {
	seed := randomBytes(seedSize)
	r, err := c.svc.Encrypt(c.ctx, newUID(), seed)
	c.report(err == nil, "encrypt.32", "%s", describe(err))
	if err != nil {
		return nil
	}
	c.report(r.KeyID == st.KeyID, "encrypt.key_id equals status", "%t", r.KeyID == st.KeyID)
	err = kmsv2.ValidateEncryptedObject(storedObject(r))
	c.report(err == nil, "encrypt.response valid", "ciphertext=%d bytes annotations=%d err=%v", len(r.Ciphertext), len(r.Annotations), err)
	c.report(!bytes.Contains(r.Ciphertext, seed[:8]), "encrypt.ciphertext hides seed", "")
	got, err := c.svc.Decrypt(c.ctx, newUID(), decryptRequest(r))
	c.report(err == nil && bytes.Equal(got, seed), "decrypt.roundtrip", "%s", describe(err))
	return &sealed{seed: seed, response: r}
}

// refusals sends requests that an attacker with write access to etcd could
// cause. Unavailable and DeadlineExceeded don't count as a refusal: a plugin
// that crashed or hangs looks like that.
func (c *checker) refusals(s *sealed) {
	refuse := func(name string, mutate func(*kmsservice.DecryptRequest)) {
		r := decryptRequest(s.response)
		mutate(r)
		got, err := c.svc.Decrypt(c.ctx, newUID(), r)
		code := status.Code(err)
		ok := err != nil && code != codes.Unavailable && code != codes.DeadlineExceeded
		c.report(ok, "refuse."+name, "%s plaintext=%d bytes", describe(err), len(got))
	}
	type req = kmsservice.DecryptRequest
	refuse("flipped ciphertext bit", func(r *req) { r.Ciphertext[len(r.Ciphertext)/2] ^= 1 })
	refuse("flipped first byte", func(r *req) { r.Ciphertext[0] ^= 0x80 })
	refuse("truncated ciphertext", func(r *req) { r.Ciphertext = r.Ciphertext[:len(r.Ciphertext)-1] })
	refuse("ciphertext cut by 8", func(r *req) { r.Ciphertext = r.Ciphertext[:max(0, len(r.Ciphertext)-8)] })
	refuse("empty ciphertext", func(r *req) { r.Ciphertext = nil })
	refuse("oversized ciphertext", func(r *req) { r.Ciphertext = randomBytes(64 * 1024) })
	refuse("unknown key_id", func(r *req) { r.KeyID += "-no-such-key" })
	refuse("empty key_id", func(r *req) { r.KeyID = "" })
	for k := range s.response.Annotations {
		refuse("annotation lost: "+k, func(r *req) { delete(r.Annotations, k) })
		refuse("annotation changed: "+k, func(r *req) { r.Annotations[k] = append(r.Annotations[k], 'x') })
	}
}

// survived checks that the refusals left the plugin working.
func (c *checker) survived(s *sealed) {
	got, err := c.svc.Decrypt(c.ctx, newUID(), decryptRequest(s.response))
	c.report(err == nil && bytes.Equal(got, s.seed), "decrypt.roundtrip after refusals", "%s", describe(err))
}

// plaintextSizes tries other plaintext lengths. Whether they are accepted is
// told, not judged: kube-apiserver sends only 32 bytes. What is accepted must
// be given back.
func (c *checker) plaintextSizes() {
	for _, n := range []int{0, 1, 8, 16, 24, 31, 33, 40, 48, 64, 1024} {
		name := fmt.Sprintf("encrypt.%d", n)
		plain := randomBytes(n)
		r, err := c.svc.Encrypt(c.ctx, newUID(), plain)
		if err != nil {
			c.info(name, "%s", describe(err))
			continue
		}
		got, err := c.svc.Decrypt(c.ctx, newUID(), decryptRequest(r))
		if err != nil || !bytes.Equal(got, plain) {
			c.report(false, name, "accepted but not given back: %s", describe(err))
			continue
		}
		c.info(name, "accepted, ciphertext %d bytes", len(r.Ciphertext))
	}
}

// uids tells what the plugin makes of odd uids.
func (c *checker) uids() {
	for _, u := range []struct{ name, uid string }{{"empty uid", ""}, {"1 MiB uid", strings.Repeat("u", 1<<20)}} {
		r, err := c.svc.Encrypt(c.ctx, u.uid, randomBytes(seedSize))
		if err != nil {
			c.info("encrypt."+u.name, "%s", describe(err))
			continue
		}
		c.info("encrypt."+u.name, "accepted, ciphertext %d bytes", len(r.Ciphertext))
	}
}

// envelope writes and reads a value with kube-apiserver's transformer, with a
// DEK seed (what it writes today) or a plain AES key (what it wrote before
// 1.29 and still reads).
func (c *checker) envelope(useSeed bool) {
	name := fmt.Sprintf("envelope(seed=%t)", useSeed)
	tr, obj, cacheKey, err := kmsv2.GenerateTransformer(c.ctx, newUID(), c.svc, useSeed)
	if err != nil {
		c.report(false, name, "%v", err)
		return
	}
	state := func() (kmsv2.State, error) {
		return kmsv2.State{
			Transformer:                           tr,
			EncryptedObjectKeyID:                  obj.KeyID,
			EncryptedObjectEncryptedDEKSource:     obj.EncryptedDEKSource,
			EncryptedObjectAnnotations:            obj.Annotations,
			EncryptedObjectEncryptedDEKSourceType: obj.EncryptedDEKSourceType,
			UID:                                   newUID(),
			ExpirationTimestamp:                   time.Now().Add(3 * time.Minute),
			CacheKey:                              cacheKey,
		}, nil
	}
	writer := kmsv2.NewEnvelopeTransformer(c.svc, providerName, state, "oracle-apiserver")
	stored, err := writer.TransformToStorage(c.ctx, helloEtcd, value.DefaultContext(secretKey))
	if err != nil {
		c.report(false, name, "%v", err)
		return
	}
	// A second transformer has an empty cache, so it calls Decrypt.
	reader := kmsv2.NewEnvelopeTransformer(c.svc, providerName, state, "oracle-apiserver")
	got, stale, err := reader.TransformFromStorage(c.ctx, stored, value.DefaultContext(secretKey))
	ok := err == nil && !stale && bytes.Equal(got, helloEtcd)
	c.report(ok, name, "stored=%d bytes stale=%t err=%v", len(stored), stale, err)
	if !ok {
		return
	}
	_, _, err = reader.TransformFromStorage(c.ctx, stored, value.DefaultContext(otherKey))
	c.report(err != nil, name+" other path", "%v", err)
}

// loader plays the start of two API servers with an EncryptionConfiguration
// for *.*; the second must read what the first wrote.
func (c *checker) loader() {
	a, err := c.loadServer()
	c.report(err == nil, "loader.healthz (server 1)", "%v", err)
	b, err2 := c.loadServer()
	c.report(err2 == nil, "loader.healthz (server 2)", "%v", err2)
	if err != nil || err2 != nil {
		return
	}
	dctx := value.DefaultContext(secretKey)
	stored, err := a.TransformToStorage(c.ctx, helloEtcd, dctx)
	want := []byte(storedPrefix + providerName + ":")
	c.report(err == nil && bytes.HasPrefix(stored, want), "loader.prefix", "%q err=%v", stored[:min(len(want), len(stored))], err)
	got, stale, err := b.TransformFromStorage(c.ctx, stored, dctx)
	c.report(err == nil && !stale && bytes.Equal(got, helloEtcd), "loader.server 2 reads server 1", "stale=%t err=%v", stale, err)
}

// loadServer loads a configuration as kube-apiserver does at its start, runs
// its health check once and returns the transformer for secrets.
func (c *checker) loadServer() (value.Transformer, error) {
	dir, err := os.MkdirTemp("", "kmsoracle")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "encryption.yaml")
	config := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: ["*.*"]
  providers:
  - kms: {apiVersion: v2, name: %s, endpoint: %q, timeout: %s}
  - identity: {}
`, providerName, c.endpoint, c.timeout)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	ec, err := encryptionconfig.LoadEncryptionConfig(c.ctx, path, true, "oracle-apiserver")
	if err != nil {
		return nil, err
	}
	health := ec.HealthChecks[0]
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "/readyz/"+health.Name(), nil)
	if err != nil {
		return nil, err
	}
	if err := health.Check(req); err != nil {
		return nil, fmt.Errorf("health check %s: %w", health.Name(), err)
	}
	return encryptionconfig.StaticTransformers(ec.Transformers).TransformerForResource(schema.GroupResource{Resource: "secrets"}), nil
}

// load makes parallel calls of one kind and reports their latency.
func (c *checker) load(op string, callers, calls int) {
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		latency []time.Duration
		bad     int
	)
	start := time.Now()
	for range callers {
		wg.Go(func() {
			mine, errs := c.caller(op, calls)
			mu.Lock()
			defer mu.Unlock()
			latency = append(latency, mine...)
			bad += errs
		})
	}
	wg.Wait()
	rate := float64(len(latency)) / time.Since(start).Seconds()
	c.report(bad == 0, "load."+op, "%d callers, %s, %.0f calls/s, bad=%d", callers, percentiles(latency), rate, bad)
}

// caller makes the calls of one of load's callers, with a seed of its own.
func (c *checker) caller(op string, calls int) (latency []time.Duration, bad int) {
	seed := randomBytes(seedSize)
	r, err := c.svc.Encrypt(c.ctx, newUID(), seed)
	if err != nil {
		return nil, 1
	}
	for range calls {
		var err error
		ok := true
		start := time.Now()
		switch op {
		case "status":
			_, err = c.svc.Status(c.ctx)
		case "encrypt":
			_, err = c.svc.Encrypt(c.ctx, newUID(), seed)
		case "decrypt":
			var got []byte
			got, err = c.svc.Decrypt(c.ctx, newUID(), decryptRequest(r))
			ok = bytes.Equal(got, seed)
		}
		latency = append(latency, time.Since(start))
		if err != nil || !ok {
			bad++
		}
	}
	return latency, bad
}

// storedObject is what kube-apiserver would store for r, with dummy data.
func storedObject(r *kmsservice.EncryptResponse) *kmstypes.EncryptedObject {
	return &kmstypes.EncryptedObject{
		EncryptedData:          []byte{0},
		KeyID:                  r.KeyID,
		EncryptedDEKSource:     r.Ciphertext,
		Annotations:            r.Annotations,
		EncryptedDEKSourceType: kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED,
	}
}

// decryptRequest asks for what r sealed. It shares no memory with r.
func decryptRequest(r *kmsservice.EncryptResponse) *kmsservice.DecryptRequest {
	annotations := map[string][]byte{}
	for k, v := range r.Annotations {
		annotations[k] = bytes.Clone(v)
	}
	return &kmsservice.DecryptRequest{Ciphertext: bytes.Clone(r.Ciphertext), KeyID: r.KeyID, Annotations: annotations}
}

func describe(err error) string {
	if err == nil {
		return "OK"
	}
	return fmt.Sprintf("%s (%s)", status.Code(err), status.Convert(err).Message())
}

func newUID() string { return string(uuid.NewUUID()) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return b
}

func percentiles(d []time.Duration) string {
	if len(d) == 0 {
		return "no samples"
	}
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	p := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(time.Microsecond) }
	return fmt.Sprintf("n=%d p50=%s p95=%s p99=%s max=%s", len(d), p(.5), p(.95), p(.99), p(1))
}
