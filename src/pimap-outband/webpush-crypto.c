/* SPDX-License-Identifier: LGPL-2.1-only */
/* Web Push by OpenSSL's EVP. Dovecot's lib-dcrypt has no key agreement in 2.4. */

#include "lib.h"
#include "buffer.h"
#include "str.h"
#include "base64.h"
#include "pimap-webpush.h"
#include "webpush-crypto.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#define KEY_SIZE PIMAP_WEBPUSH_KEY_SIZE
#define AUTH_SIZE PIMAP_WEBPUSH_AUTH_SIZE
#define NUMBER_SIZE 32
#define CEK_SIZE 16
#define NONCE_SIZE 12
#define TAG_SIZE 16

struct webpush_key {
	EVP_PKEY *pkey;
	unsigned char public[KEY_SIZE];
};

/* Sets error_r to what OpenSSL says. Returns -1. */
static int crypto_failed(const char *what, const char **error_r)
{
	unsigned long err = ERR_get_error();
	char buf[256];

	ERR_error_string_n(err, buf, sizeof(buf));
	ERR_clear_error();
	*error_r = t_strdup_printf("%s failed: %s", what, err == 0 ?
				   "no reason" : buf);
	return -1;
}

/* Takes over the key. */
static int
webpush_key_new(EVP_PKEY *pkey, struct webpush_key **key_r,
		const char **error_r)
{
	struct webpush_key *key;
	char group[32];
	size_t size;

	key = i_new(struct webpush_key, 1);
	key->pkey = pkey;
	if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &size) != 1 ||
	    strcmp(group, SN_X9_62_prime256v1) != 0) {
		*error_r = "It isn't a key of P-256";
		webpush_key_free(&key);
		return -1;
	}
	if (EVP_PKEY_get_octet_string_param(pkey,
			OSSL_PKEY_PARAM_PUB_KEY, key->public,
			sizeof(key->public), &size) != 1 ||
	    size != sizeof(key->public) || key->public[0] != 4) {
		webpush_key_free(&key);
		return crypto_failed("Reading the public key", error_r);
	}
	*key_r = key;
	return 0;
}

int webpush_key_generate(struct webpush_key **key_r, const char **error_r)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");

	if (pkey == NULL)
		return crypto_failed("Making a key", error_r);
	return webpush_key_new(pkey, key_r, error_r);
}

int webpush_key_from_private(const unsigned char *data,
			     struct webpush_key **key_r, const char **error_r)
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *point = EC_POINT_new(group);
	BIGNUM *number = BN_bin2bn(data, NUMBER_SIZE, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM *params = NULL;
	EVP_PKEY *pkey = NULL;
	unsigned char public[KEY_SIZE];
	bool ok;

	ok = EC_POINT_mul(group, point, number, NULL, NULL, NULL) == 1 &&
		EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED,
				   public, sizeof(public), NULL) ==
			sizeof(public) &&
		OSSL_PARAM_BLD_push_utf8_string(build,
			OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
		OSSL_PARAM_BLD_push_octet_string(build,
			OSSL_PKEY_PARAM_PUB_KEY, public, sizeof(public)) == 1 &&
		OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY,
				       number) == 1 &&
		(params = OSSL_PARAM_BLD_to_param(build)) != NULL &&
		EVP_PKEY_fromdata_init(ctx) == 1 &&
		EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) == 1;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	BN_clear_free(number);
	EC_POINT_free(point);
	EC_GROUP_free(group);
	if (!ok)
		return crypto_failed("Taking a private key", error_r);
	return webpush_key_new(pkey, key_r, error_r);
}

/* Returns 1, 0 if there is no such file, or -1 and error_r. */
static int
webpush_key_read(const char *path, struct webpush_key **key_r,
		 const char **error_r)
{
	EVP_PKEY *pkey;
	FILE *file;

	file = fopen(path, "re");
	if (file == NULL) {
		if (errno == ENOENT)
			return 0;
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	/* one with a password is refused, not asked for */
	pkey = PEM_read_PrivateKey(file, NULL, NULL, "");
	(void)fclose(file);
	if (pkey == NULL) {
		return crypto_failed(t_strdup_printf("Reading %s", path),
				     error_r);
	}
	if (webpush_key_new(pkey, key_r, error_r) < 0) {
		*error_r = t_strdup_printf("%s: %s", path, *error_r);
		return -1;
	}
	return 1;
}

static int
webpush_key_write(const char *path, const struct webpush_key *key,
		  const char **error_r)
{
	FILE *file = NULL;
	int fd, ret;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd != -1 && (file = fdopen(fd, "w")) == NULL)
		i_close_fd(&fd);
	if (file == NULL) {
		*error_r = t_strdup_printf("open(%s) failed: %m", path);
		return -1;
	}
	ret = PEM_write_PrivateKey(file, key->pkey, NULL, NULL, 0, NULL,
				   NULL) == 1 && fflush(file) == 0 &&
		fsync(fileno(file)) == 0 ? 0 : -1;
	if (fclose(file) != 0)
		ret = -1;
	if (ret < 0)
		*error_r = t_strdup_printf("write(%s) failed: %m", path);
	return ret;
}

static int webpush_key_create(const char *path, const char **error_r)
{
	struct webpush_key *key;
	const char *temp;
	int ret;

	if (webpush_key_generate(&key, error_r) < 0)
		return -1;
	temp = t_strdup_printf("%s.%ld", path, (long)getpid());
	ret = webpush_key_write(temp, key, error_r);
	webpush_key_free(&key);
	/* another process may have been faster: its key is the one */
	if (ret == 0 && link(temp, path) < 0 && errno != EEXIST) {
		*error_r = t_strdup_printf("link(%s, %s) failed: %m", temp,
					   path);
		ret = -1;
	}
	i_unlink_if_exists(temp);
	return ret;
}

int webpush_key_load(const char *path, bool create,
		     struct webpush_key **key_r, const char **error_r)
{
	int ret = webpush_key_read(path, key_r, error_r);

	if (ret == 0 && create) {
		if (webpush_key_create(path, error_r) < 0)
			return -1;
		ret = webpush_key_read(path, key_r, error_r);
	}
	if (ret == 0)
		*error_r = t_strdup_printf("open(%s) failed: no such file", path);
	return ret > 0 ? 0 : -1;
}

void webpush_key_free(struct webpush_key **_key)
{
	struct webpush_key *key = *_key;

	*_key = NULL;
	if (key == NULL)
		return;
	EVP_PKEY_free(key->pkey);
	i_free(key);
}

static void append_base64url(string_t *dest, const void *data, size_t size)
{
	base64url_encode(BASE64_ENCODE_FLAG_NO_PADDING, SIZE_MAX, data, size,
			 dest);
}

const char *webpush_key_get_public(const struct webpush_key *key)
{
	string_t *str = t_str_new(100);

	append_base64url(str, key->public, sizeof(key->public));
	return str_c(str);
}

static int
hkdf(const unsigned char *salt, size_t salt_size, const unsigned char *ikm,
     size_t ikm_size, const void *info, size_t info_size, unsigned char *out,
     size_t out_size)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
						 (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
						  (void *)ikm, ikm_size),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT,
						  (void *)salt, salt_size),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
						  (void *)info, info_size),
		OSSL_PARAM_construct_end()
	};
	int ret;

	ret = ctx != NULL && EVP_KDF_derive(ctx, out, out_size, params) == 1 ?
		0 : -1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ret;
}

/* Returns -1 too if the device's key is no point of the curve. */
static int
webpush_agree(const unsigned char *device_key,
	      const struct webpush_key *sender_key,
	      unsigned char *secret, const char **error_r)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
						 (char *)"P-256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
						  (void *)device_key, KEY_SIZE),
		OSSL_PARAM_construct_end()
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY_CTX *derive = EVP_PKEY_CTX_new(sender_key->pkey, NULL);
	EVP_PKEY *peer = NULL;
	size_t size = NUMBER_SIZE;
	bool ok;

	ok = ctx != NULL && derive != NULL &&
		EVP_PKEY_fromdata_init(ctx) == 1 &&
		EVP_PKEY_fromdata(ctx, &peer, EVP_PKEY_PUBLIC_KEY,
				  params) == 1 &&
		EVP_PKEY_derive_init(derive) == 1 &&
		EVP_PKEY_derive_set_peer(derive, peer) == 1 &&
		EVP_PKEY_derive(derive, secret, &size) == 1 &&
		size == NUMBER_SIZE;
	EVP_PKEY_free(peer);
	EVP_PKEY_CTX_free(derive);
	EVP_PKEY_CTX_free(ctx);
	return ok ? 0 : crypto_failed("Agreeing upon a key", error_r);
}

/* One record, the last one, without padding */
static int
webpush_seal(const unsigned char *cek, const unsigned char *nonce,
	     const void *text, size_t size, buffer_t *dest,
	     const char **error_r)
{
	static const unsigned char last = 2;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *out = buffer_append_space_unsafe(dest,
							size + 1 + TAG_SIZE);
	int len, len2;
	bool ok;

	ok = ctx != NULL &&
		EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, cek,
				   nonce) == 1 &&
		EVP_EncryptUpdate(ctx, out, &len, text, size) == 1 &&
		(size_t)len == size &&
		EVP_EncryptUpdate(ctx, out + size, &len, &last, 1) == 1 &&
		len == 1 &&
		EVP_EncryptFinal_ex(ctx, out + size + 1, &len2) == 1 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_SIZE,
				    out + size + 1) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : crypto_failed("Encrypting", error_r);
}

int webpush_encrypt(const unsigned char *device_key, const unsigned char *auth,
		    const struct webpush_key *sender_key,
		    const unsigned char *salt, const void *text, size_t size,
		    buffer_t *dest, const char **error_r)
{
	/* with the NUL at their ends */
	static const char key_info[] = "WebPush: info";
	static const char cek_info[] = "Content-Encoding: aes128gcm";
	static const char nonce_info[] = "Content-Encoding: nonce";
	unsigned char secret[NUMBER_SIZE], ikm[32];
	unsigned char cek[CEK_SIZE], nonce[NONCE_SIZE];
	unsigned char info[sizeof(key_info) + 2*KEY_SIZE];
	int ret;

	if (size > WEBPUSH_MAX_TEXT) {
		*error_r = "The text is too long";
		return -1;
	}
	if (webpush_agree(device_key, sender_key, secret, error_r) < 0)
		return -1;
	memcpy(info, key_info, sizeof(key_info));
	memcpy(info + sizeof(key_info), device_key, KEY_SIZE);
	memcpy(info + sizeof(key_info) + KEY_SIZE, sender_key->public,
	       KEY_SIZE);
	if (hkdf(auth, AUTH_SIZE, secret, sizeof(secret), info, sizeof(info),
		 ikm, sizeof(ikm)) < 0 ||
	    hkdf(salt, WEBPUSH_SALT_SIZE, ikm, sizeof(ikm), cek_info,
		 sizeof(cek_info), cek, sizeof(cek)) < 0 ||
	    hkdf(salt, WEBPUSH_SALT_SIZE, ikm, sizeof(ikm), nonce_info,
		 sizeof(nonce_info), nonce, sizeof(nonce)) < 0) {
		ret = crypto_failed("Deriving a key", error_r);
	} else {
		/* salt, record size, length of the key, key (RFC 8188, 2.1) */
		buffer_append(dest, salt, WEBPUSH_SALT_SIZE);
		buffer_append_c(dest, 0);
		buffer_append_c(dest, 0);
		buffer_append_c(dest, WEBPUSH_RECORD_SIZE >> 8);
		buffer_append_c(dest, WEBPUSH_RECORD_SIZE & 0xff);
		buffer_append_c(dest, KEY_SIZE);
		buffer_append(dest, sender_key->public, KEY_SIZE);
		ret = webpush_seal(cek, nonce, text, size, dest, error_r);
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(ikm, sizeof(ikm));
	OPENSSL_cleanse(cek, sizeof(cek));
	return ret;
}

int webpush_encrypt_new(const unsigned char *device_key,
			const unsigned char *auth, const void *text,
			size_t size, buffer_t *dest, const char **error_r)
{
	unsigned char salt[WEBPUSH_SALT_SIZE];
	struct webpush_key *key;
	int ret;

	if (RAND_bytes(salt, sizeof(salt)) != 1)
		return crypto_failed("Making a salt", error_r);
	if (webpush_key_generate(&key, error_r) < 0)
		return -1;
	ret = webpush_encrypt(device_key, auth, key, salt, text, size, dest,
			      error_r);
	webpush_key_free(&key);
	return ret;
}

/* Both numbers, one after the other (RFC 7515's ES256) */
static int
webpush_sign(const struct webpush_key *key, const void *data, size_t size,
	     unsigned char *signature, const char **error_r)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char der[128];
	const unsigned char *p = der;
	size_t der_size = sizeof(der);
	ECDSA_SIG *sig = NULL;
	bool ok;

	ok = ctx != NULL &&
		EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL,
				   key->pkey) == 1 &&
		EVP_DigestSign(ctx, der, &der_size, data, size) == 1 &&
		(sig = d2i_ECDSA_SIG(NULL, &p, der_size)) != NULL &&
		BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature,
			     NUMBER_SIZE) == NUMBER_SIZE &&
		BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + NUMBER_SIZE,
			     NUMBER_SIZE) == NUMBER_SIZE;
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(ctx);
	return ok ? 0 : crypto_failed("Signing", error_r);
}

int webpush_vapid(const struct webpush_key *key, const char *origin,
		  const char *subject, time_t expires, string_t *dest,
		  const char **error_r)
{
	static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"ES256\"}";
	string_t *token = t_str_new(512);
	unsigned char signature[2*NUMBER_SIZE];
	const char *claims;

	claims = t_strdup_printf("{\"aud\":\"%s\",\"exp\":%"PRId64
				 ",\"sub\":\"%s\"}", origin, (int64_t)expires,
				 subject);
	append_base64url(token, header, strlen(header));
	str_append_c(token, '.');
	append_base64url(token, claims, strlen(claims));
	if (webpush_sign(key, str_data(token), str_len(token), signature,
			 error_r) < 0)
		return -1;
	str_append_c(token, '.');
	append_base64url(token, signature, sizeof(signature));
	str_printfa(dest, "vapid t=%s, k=%s", str_c(token),
		    webpush_key_get_public(key));
	return 0;
}
