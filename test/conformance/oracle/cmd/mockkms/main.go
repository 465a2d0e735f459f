// SPDX-License-Identifier: Apache-2.0

// Mockkms is a throwaway KMS v2 plugin with software keys, for experiments
// with kube-apiserver and for trying the oracle. FOR TESTS ONLY: anybody can
// compute its keys.
//
//	mockkms -sock /path/kms.sock [-ctl /path/control.json]
//
// It wraps with a real RFC 3394 AES-256 key wrap; the KEK of a key_id is
// SHA-256("mock kek " + key_id). Its behaviour is steered at run time by the
// control file, which is read on every call; every field is optional:
//
//	{"key_id":"k1", "encrypt_key_id":"", "healthz":"ok", "version":"v2",
//	 "fail_status":"", "fail_encrypt":"", "fail_decrypt":"", "sleep_ms":0}
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	kmsapi "k8s.io/kms/apis/v2"
)

// The one annotation of an EncryptResponse; Decrypt refuses any other value.
const (
	mechanismAnnotation = "mechanism.mockkms.example.com"
	mechanism           = "CKM_AES_KEY_WRAP"
)

// control is the content of the control file.
type control struct {
	KeyID        string `json:"key_id"`         // Status.key_id
	EncryptKeyID string `json:"encrypt_key_id"` // EncryptResponse.key_id; empty: as key_id
	Healthz      string `json:"healthz"`        // Status.healthz
	Version      string `json:"version"`        // Status.version
	FailStatus   string `json:"fail_status"`    // non-empty: Status fails, Unavailable with this text
	FailEncrypt  string `json:"fail_encrypt"`   // non-empty: Encrypt fails, Internal with this text
	FailDecrypt  string `json:"fail_decrypt"`   // non-empty: Decrypt fails, FailedPrecondition with this text
	SleepMS      int    `json:"sleep_ms"`       // each call waits this long first
}

type server struct {
	kmsapi.UnsafeKeyManagementServiceServer
	controlPath string
}

// control reads the control file, or gives the defaults where there is none,
// and waits for its sleep_ms.
func (s *server) control() (control, error) {
	c := control{KeyID: "k1", Healthz: "ok", Version: "v2"}
	if s.controlPath != "" {
		b, err := os.ReadFile(s.controlPath)
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, status.Errorf(codes.Internal, "control file: %v", err)
		}
	}
	if c.EncryptKeyID == "" {
		c.EncryptKeyID = c.KeyID
	}
	time.Sleep(time.Duration(c.SleepMS) * time.Millisecond)
	return c, nil
}

func kek(keyID string) []byte {
	h := sha256.Sum256([]byte("mock kek " + keyID))
	return h[:]
}

func (s *server) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	c, err := s.control()
	if err != nil {
		return nil, err
	}
	if c.FailStatus != "" {
		return nil, status.Error(codes.Unavailable, c.FailStatus)
	}
	return &kmsapi.StatusResponse{Version: c.Version, Healthz: c.Healthz, KeyId: c.KeyID}, nil
}

func (s *server) Encrypt(_ context.Context, r *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	c, err := s.control()
	if err != nil {
		return nil, err
	}
	log.Printf("  encrypt uid=%.64s plaintext_len=%d", r.Uid, len(r.Plaintext))
	if c.FailEncrypt != "" {
		return nil, status.Error(codes.Internal, c.FailEncrypt)
	}
	ciphertext, err := wrapKey(kek(c.EncryptKeyID), r.Plaintext)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &kmsapi.EncryptResponse{
		Ciphertext:  ciphertext,
		KeyId:       c.EncryptKeyID,
		Annotations: map[string][]byte{mechanismAnnotation: []byte(mechanism)},
	}, nil
}

func (s *server) Decrypt(_ context.Context, r *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	c, err := s.control()
	if err != nil {
		return nil, err
	}
	log.Printf("  decrypt uid=%.64s key_id=%.64s ciphertext_len=%d annotations=%q", r.Uid, r.KeyId, len(r.Ciphertext), r.Annotations)
	if c.FailDecrypt != "" {
		return nil, status.Error(codes.FailedPrecondition, c.FailDecrypt)
	}
	if string(r.Annotations[mechanismAnnotation]) != mechanism {
		return nil, status.Error(codes.InvalidArgument, "unknown mechanism annotation")
	}
	plaintext, err := unwrapKey(kek(r.KeyId), r.Ciphertext)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &kmsapi.DecryptResponse{Plaintext: plaintext}, nil
}

// logCall writes one line per call: method, result, time left, metadata.
func logCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	left := "none"
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline).Round(time.Millisecond).String()
	}
	resp, err := handle(ctx, req)
	log.Printf("%s code=%s deadline_in=%s md=%v", info.FullMethod, status.Code(err), left, fmt.Sprint(md))
	return resp, err
}

func main() {
	sock := flag.String("sock", "", "unix socket to serve; a leading @ means an abstract socket (required)")
	controlPath := flag.String("ctl", "", "JSON control file, read on every call (optional)")
	flag.Parse()
	if *sock == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	log.SetFlags(log.Ltime | log.Lmicroseconds)

	if !strings.HasPrefix(*sock, "@") {
		_ = os.Remove(*sock) // left by a killed run
	}
	ln, err := net.Listen("unix", *sock)
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer(grpc.UnaryInterceptor(logCall))
	kmsapi.RegisterKeyManagementServiceServer(g, &server{controlPath: *controlPath})
	log.Printf("listening on %s", *sock)
	log.Fatal(g.Serve(ln))
}
