// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// defaultIV is the initial value of RFC 3394 section 2.2.3.1.
const defaultIV uint64 = 0xA6A6A6A6A6A6A6A6

// wrapKey is the AES key wrap of RFC 3394 section 2.2.1 (CKM_AES_KEY_WRAP).
func wrapKey(kek, plaintext []byte) ([]byte, error) {
	if len(plaintext) < 16 || len(plaintext)%8 != 0 {
		return nil, errors.New("plaintext must be a multiple of 8 bytes, at least 16")
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(plaintext) / 8
	r := append([]byte(nil), plaintext...)
	a := defaultIV
	var buf [16]byte
	for j := 0; j < 6; j++ {
		for i := 0; i < n; i++ {
			binary.BigEndian.PutUint64(buf[:8], a)
			copy(buf[8:], r[i*8:i*8+8])
			block.Encrypt(buf[:], buf[:])
			a = binary.BigEndian.Uint64(buf[:8]) ^ uint64(n*j+i+1)
			copy(r[i*8:], buf[8:])
		}
	}
	return append(binary.BigEndian.AppendUint64(nil, a), r...), nil
}

// unwrapKey is the key unwrap of RFC 3394 section 2.2.2.
func unwrapKey(kek, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) < 24 || len(ciphertext)%8 != 0 {
		return nil, errors.New("ciphertext has a bad length")
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(ciphertext)/8 - 1
	a := binary.BigEndian.Uint64(ciphertext[:8])
	r := append([]byte(nil), ciphertext[8:]...)
	var buf [16]byte
	for j := 5; j >= 0; j-- {
		for i := n - 1; i >= 0; i-- {
			binary.BigEndian.PutUint64(buf[:8], a^uint64(n*j+i+1))
			copy(buf[8:], r[i*8:i*8+8])
			block.Decrypt(buf[:], buf[:])
			a = binary.BigEndian.Uint64(buf[:8])
			copy(r[i*8:], buf[8:])
		}
	}
	got := binary.BigEndian.AppendUint64(nil, a)
	want := binary.BigEndian.AppendUint64(nil, defaultIV)
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return nil, errors.New("integrity check failed")
	}
	return r, nil
}
