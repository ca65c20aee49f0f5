/* SPDX-License-Identifier: LGPL-2.1-only */
/* Envelopes by OpenSSL's EVP. Keys are derived anew for each: that costs less than
   what is done with them, and nothing of them stays in memory. */

#include "lib.h"
#include "buffer.h"
#include "pimap-envelope.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

#define HEAD_SIZE PIMAP_ENVELOPE_HEAD_SIZE
#define AES_TAG_SIZE 16
#define DES_BLOCK_SIZE 8
#define DES_KEY_SIZE 24
#define DES_TAG_SIZE 32
#define MAX_DERIVED_SIZE (DES_KEY_SIZE + 32)
/* what is authenticated, but isn't encrypted */
#define AAD_SIZE (HEAD_SIZE + 1)

/* EVP has its lengths in an int. */
#define MAX_TEXT_SIZE (INT_MAX / 2)

struct envelope_method {
	const char *name;
	size_t key_size, nonce_size, tag_size;
};

static const struct envelope_method envelope_methods[] = {
	[PIMAP_ENVELOPE_AES] = { "AES", 32, 12, AES_TAG_SIZE },
	[PIMAP_ENVELOPE_3DES] = { "3DES", MAX_DERIVED_SIZE, DES_BLOCK_SIZE,
				  DES_TAG_SIZE },
};

enum pimap_envelope_method pimap_envelope_method_parse(const char *name)
{
	unsigned int i;

	for (i = 1; i < N_ELEMENTS(envelope_methods); i++) {
		if (strcasecmp(envelope_methods[i].name, name) == 0)
			return i;
	}
	return 0;
}

const char *pimap_envelope_method_name(enum pimap_envelope_method method)
{
	return envelope_methods[method].name;
}

size_t pimap_envelope_nonce_size(enum pimap_envelope_method method)
{
	return envelope_methods[method].nonce_size;
}

size_t pimap_envelope_base64_max_text(enum pimap_envelope_method method,
				      size_t size)
{
	const struct envelope_method *m = &envelope_methods[method];
	const size_t overhead = HEAD_SIZE + m->nonce_size + m->tag_size;
	size_t max = size / 4 * 3;

	if (max <= overhead)
		return 0;
	max -= overhead;
	/* 3DES: whole blocks, of which the last has an octet of its own */
	if (method == PIMAP_ENVELOPE_3DES) {
		max -= max % DES_BLOCK_SIZE;
		max = max == 0 ? 0 : max - 1;
	}
	return max;
}

/* The key of this direction and method */
static bool
envelope_derive(const struct pimap_envelope_key *key,
		enum pimap_envelope_method method,
		enum pimap_envelope_direction direction, unsigned char *dest)
{
	const struct envelope_method *m = &envelope_methods[method];
	const char *info = t_strdup_printf("pimap1 %s %c", m->name, direction);
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
			(void *)key->key, sizeof(key->key)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
			(void *)info, strlen(info)),
		OSSL_PARAM_construct_end()
	};
	bool ok;

	ok = ctx != NULL &&
		EVP_KDF_derive(ctx, dest, m->key_size, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok;
}

static bool
aes_seal(const unsigned char *key, const unsigned char *aad,
	 const unsigned char *nonce, const void *text, size_t size,
	 buffer_t *dest)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *out =
		buffer_append_space_unsafe(dest, size + AES_TAG_SIZE);
	int len, len2;
	bool ok;

	ok = ctx != NULL &&
		EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key,
				   nonce) == 1 &&
		EVP_EncryptUpdate(ctx, NULL, &len, aad, AAD_SIZE) == 1 &&
		EVP_EncryptUpdate(ctx, out, &len, text, size) == 1 &&
		(size_t)len == size &&
		EVP_EncryptFinal_ex(ctx, out + size, &len2) == 1 &&
		len2 == 0 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, AES_TAG_SIZE,
				    out + size) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static bool
aes_open(const unsigned char *key, const unsigned char *aad,
	 const unsigned char *nonce, const unsigned char *data, size_t size,
	 buffer_t *text)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *out = buffer_append_space_unsafe(text, size);
	int len, len2;
	bool ok;

	ok = ctx != NULL &&
		EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key,
				   nonce) == 1 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, AES_TAG_SIZE,
				    (void *)(data + size)) == 1 &&
		EVP_DecryptUpdate(ctx, NULL, &len, aad, AAD_SIZE) == 1 &&
		EVP_DecryptUpdate(ctx, out, &len, data, size) == 1 &&
		(size_t)len == size &&
		EVP_DecryptFinal_ex(ctx, out + size, &len2) == 1 && len2 == 0;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

/* CBC must not be given an IV that can be foretold, and a counter can: the IV is the
   nonce, encrypted (NIST SP 800-38A, appendix C). */
static bool
des_get_iv(const unsigned char *key, const unsigned char *nonce,
	   unsigned char *iv)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len;
	bool ok;

	ok = ctx != NULL &&
		EVP_EncryptInit_ex(ctx, EVP_des_ede3_ecb(), NULL, key,
				   NULL) == 1 &&
		EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
		EVP_EncryptUpdate(ctx, iv, &len, nonce, DES_BLOCK_SIZE) == 1 &&
		len == DES_BLOCK_SIZE;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

/* The HMAC is of all that there is, and the direction; the nonce's size is known. */
static bool
des_get_tag(const unsigned char *key, const unsigned char *aad,
	    const unsigned char *nonce, const unsigned char *data, size_t size,
	    unsigned char *tag)
{
	buffer_t *all = t_buffer_create(AAD_SIZE + DES_BLOCK_SIZE + size);
	unsigned int len;

	buffer_append(all, aad, AAD_SIZE);
	buffer_append(all, nonce, DES_BLOCK_SIZE);
	buffer_append(all, data, size);
	return HMAC(EVP_sha256(), key + DES_KEY_SIZE, 32, all->data, all->used,
		    tag, &len) != NULL && len == DES_TAG_SIZE;
}

static bool
des_seal(const unsigned char *key, const unsigned char *aad,
	 const unsigned char *nonce, const void *text, size_t size,
	 buffer_t *dest)
{
	const size_t padded = size + DES_BLOCK_SIZE - size % DES_BLOCK_SIZE;
	unsigned char iv[DES_BLOCK_SIZE];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *out =
		buffer_append_space_unsafe(dest, padded + DES_TAG_SIZE);
	int len, len2;
	bool ok;

	ok = ctx != NULL && des_get_iv(key, nonce, iv) &&
		EVP_EncryptInit_ex(ctx, EVP_des_ede3_cbc(), NULL, key,
				   iv) == 1 &&
		EVP_EncryptUpdate(ctx, out, &len, text, size) == 1 &&
		EVP_EncryptFinal_ex(ctx, out + len, &len2) == 1 &&
		(size_t)len + len2 == padded &&
		des_get_tag(key, aad, nonce, out, padded, out + padded);
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static bool
des_open(const unsigned char *key, const unsigned char *aad,
	 const unsigned char *nonce, const unsigned char *data, size_t size,
	 buffer_t *text)
{
	const size_t start = text->used;
	unsigned char iv[DES_BLOCK_SIZE], tag[DES_TAG_SIZE];
	EVP_CIPHER_CTX *ctx;
	unsigned char *out;
	int len, len2;
	bool ok;

	/* nothing is decrypted before it is known to be authentic */
	if (size == 0 || size % DES_BLOCK_SIZE != 0 ||
	    !des_get_tag(key, aad, nonce, data, size, tag) ||
	    CRYPTO_memcmp(tag, data + size, DES_TAG_SIZE) != 0)
		return FALSE;
	ctx = EVP_CIPHER_CTX_new();
	out = buffer_append_space_unsafe(text, size + DES_BLOCK_SIZE);
	ok = ctx != NULL && des_get_iv(key, nonce, iv) &&
		EVP_DecryptInit_ex(ctx, EVP_des_ede3_cbc(), NULL, key,
				   iv) == 1 &&
		EVP_DecryptUpdate(ctx, out, &len, data, size) == 1 &&
		EVP_DecryptFinal_ex(ctx, out + len, &len2) == 1;
	EVP_CIPHER_CTX_free(ctx);
	if (ok)
		buffer_set_used_size(text, start + len + len2);
	return ok;
}

static void
envelope_get_aad(const unsigned char *head,
		 enum pimap_envelope_direction direction, unsigned char *aad_r)
{
	memcpy(aad_r, head, HEAD_SIZE);
	aad_r[HEAD_SIZE] = direction;
}

int pimap_envelope_seal(const struct pimap_envelope_key *key,
			enum pimap_envelope_method method,
			enum pimap_envelope_direction direction,
			const unsigned char *nonce, const void *text,
			size_t size, buffer_t *dest, const char **error_r)
{
	const struct envelope_method *m = &envelope_methods[method];
	unsigned char random[PIMAP_ENVELOPE_MAX_NONCE_SIZE];
	unsigned char derived[MAX_DERIVED_SIZE], aad[AAD_SIZE];
	const size_t start = dest->used;
	const unsigned char head[HEAD_SIZE] = {
		PIMAP_ENVELOPE_VERSION, method,
		key->number >> 24, (key->number >> 16) & 0xff,
		(key->number >> 8) & 0xff, key->number & 0xff
	};
	bool ok;

	if (size > MAX_TEXT_SIZE) {
		*error_r = "The text is too long";
		return -1;
	}
	if (nonce == NULL) {
		if (RAND_bytes(random, m->nonce_size) != 1) {
			*error_r = "There are no random numbers";
			return -1;
		}
		nonce = random;
	}
	envelope_get_aad(head, direction, aad);
	buffer_append(dest, head, HEAD_SIZE);
	buffer_append(dest, nonce, m->nonce_size);
	ok = envelope_derive(key, method, direction, derived) &&
		(method == PIMAP_ENVELOPE_AES ? aes_seal : des_seal)(
			derived, aad, nonce, text, size, dest);
	OPENSSL_cleanse(derived, sizeof(derived));
	if (ok)
		return 0;
	ERR_clear_error();
	buffer_set_used_size(dest, start);
	/* no more: it would be about a key */
	*error_r = t_strdup_printf("OpenSSL can't encrypt by %s", m->name);
	return -1;
}

bool pimap_envelope_parse(const void *_data, size_t size,
			  struct pimap_envelope *envelope_r)
{
	const unsigned char *data = _data;
	const struct envelope_method *m;

	if (size < HEAD_SIZE || data[0] != PIMAP_ENVELOPE_VERSION ||
	    (data[1] != PIMAP_ENVELOPE_AES && data[1] != PIMAP_ENVELOPE_3DES))
		return FALSE;
	m = &envelope_methods[data[1]];
	if (size < HEAD_SIZE + m->nonce_size + m->tag_size ||
	    size > MAX_TEXT_SIZE)
		return FALSE;
	i_zero(envelope_r);
	envelope_r->method = data[1];
	envelope_r->key_number = be32_to_cpu_unaligned(data + 2);
	envelope_r->data = data;
	envelope_r->size = size;
	return TRUE;
}

uint64_t pimap_envelope_get_counter(const struct pimap_envelope *envelope)
{
	/* it ends the nonce */
	return be64_to_cpu_unaligned(envelope->data + HEAD_SIZE +
		envelope_methods[envelope->method].nonce_size - 8);
}

bool pimap_envelope_open(const struct pimap_envelope *envelope,
			 const struct pimap_envelope_key *key,
			 enum pimap_envelope_direction direction,
			 buffer_t *text)
{
	const struct envelope_method *m = &envelope_methods[envelope->method];
	unsigned char derived[MAX_DERIVED_SIZE], aad[AAD_SIZE];
	const unsigned char *nonce = envelope->data + HEAD_SIZE;
	const unsigned char *data = nonce + m->nonce_size;
	const size_t size = envelope->data + envelope->size - data - m->tag_size;
	const size_t start = text->used;
	bool ok;

	if (envelope->key_number != key->number)
		return FALSE;
	envelope_get_aad(envelope->data, direction, aad);
	ok = envelope_derive(key, envelope->method, direction, derived) &&
		(envelope->method == PIMAP_ENVELOPE_AES ? aes_open : des_open)(
			derived, aad, nonce, data, size, text);
	OPENSSL_cleanse(derived, sizeof(derived));
	if (!ok) {
		ERR_clear_error();
		/* what isn't authentic is nobody's to read */
		if (text->used > start) {
			OPENSSL_cleanse(PTR_OFFSET(
				buffer_get_modifiable_data(text, NULL), start),
				text->used - start);
		}
		buffer_set_used_size(text, start);
	}
	return ok;
}
