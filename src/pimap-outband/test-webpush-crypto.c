/* SPDX-License-Identifier: LGPL-2.1-only */
#include "lib.h"
#include "buffer.h"
#include "str.h"
#include "base64.h"
#include "test-common.h"
#include "pimap-webpush.h"
#include "webpush-crypto.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const unsigned char *test_decode(const char *text)
{
	return t_base64url_decode_str(BASE64_DECODE_FLAG_NO_PADDING,
				      text)->data;
}

static void test_webpush_encrypt(void)
{
	/* RFC 8291, section 5 and appendix A */
	const unsigned char *device_key = test_decode(
		"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4"
		"bjyPjs7Vd8pZGH6SRpkNtoIAiw4");
	const unsigned char *auth = test_decode("BTBZMqHH6r4Tts7J_aSIgg");
	const unsigned char *salt = test_decode("DGv6ra1nlYgDCS1FRnbzlw");
	const char *text = "When I grow up, I want to be a watermelon";
	static const char *const message =
		"DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy"
		"27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95b"
		"Qpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxs"
		"j_Qulcy4a-fN";
	unsigned char bad_key[PIMAP_WEBPUSH_KEY_SIZE];
	buffer_t *body = t_buffer_create(5000), *body2 = t_buffer_create(5000);
	unsigned char big[WEBPUSH_MAX_TEXT + 1] = { 0 };
	struct webpush_key *key;
	const char *error = NULL;

	test_begin("webpush_encrypt()");
	test_assert(webpush_key_from_private(test_decode(
		"yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), &key,
		&error) == 0);
	test_assert_strcmp(webpush_key_get_public(key),
		"BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmY"
		"WAmS6TlzAC8wEqKK6PBru3jl7A8");
	test_assert(webpush_encrypt(device_key, auth, key, salt, text,
				    strlen(text), body, &error) == 0);
	test_assert_strcmp(str_c(t_base64url_encode(
		BASE64_ENCODE_FLAG_NO_PADDING, SIZE_MAX, body->data,
		body->used)), message);

	/* what fits into one record */
	buffer_set_used_size(body, 0);
	test_assert(webpush_encrypt_new(device_key, auth, big,
					WEBPUSH_MAX_TEXT, body, &error) == 0);
	test_assert(body->used == WEBPUSH_RECORD_SIZE);
	buffer_set_used_size(body, 0);
	test_assert(webpush_encrypt_new(device_key, auth, big,
					WEBPUSH_MAX_TEXT + 1, body,
					&error) < 0);
	/* neither the key nor the salt twice */
	buffer_set_used_size(body, 0);
	test_assert(webpush_encrypt_new(device_key, auth, text, strlen(text),
					body, &error) == 0);
	test_assert(webpush_encrypt_new(device_key, auth, text, strlen(text),
					body2, &error) == 0);
	test_assert(memcmp(body->data, body2->data, WEBPUSH_SALT_SIZE) != 0);
	test_assert(memcmp(CONST_PTR_OFFSET(body->data, 21),
			   CONST_PTR_OFFSET(body2->data, 21), 65) != 0);
	/* there is no secret with a point off the curve, or none */
	memcpy(bad_key, device_key, sizeof(bad_key));
	bad_key[sizeof(bad_key) - 1] ^= 1;
	error = NULL;
	test_assert(webpush_encrypt(bad_key, auth, key, salt, text,
				    strlen(text), body, &error) < 0);
	test_assert(error != NULL);
	memset(bad_key, 0, sizeof(bad_key));
	test_assert(webpush_encrypt(bad_key, auth, key, salt, text,
				    strlen(text), body, &error) < 0);
	bad_key[0] = 4;
	test_assert(webpush_encrypt(bad_key, auth, key, salt, text,
				    strlen(text), body, &error) < 0);
	webpush_key_free(&key);
	test_end();
}

static void test_webpush_key_file(void)
{
	const char *path = t_strdup_printf(".test-webpush.%ld.pem",
					   (long)getpid());
	struct webpush_key *key, *key2;
	const char *error = NULL;
	struct stat st;
	FILE *file;

	test_begin("webpush_key_load()");
	test_assert(webpush_key_load(path, FALSE, &key, &error) < 0);
	test_assert(error != NULL);
	test_assert(webpush_key_load(path, TRUE, &key, &error) == 0);
	test_assert(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
	test_assert(webpush_key_load(path, TRUE, &key2, &error) == 0);
	test_assert_strcmp(webpush_key_get_public(key),
			   webpush_key_get_public(key2));
	webpush_key_free(&key);
	webpush_key_free(&key2);

	/* a damaged one isn't replaced: devices know it */
	file = fopen(path, "w");
	fputs("-----BEGIN PRIVATE KEY-----\nx\n", file);
	fclose(file);
	error = NULL;
	test_assert(webpush_key_load(path, TRUE, &key, &error) < 0);
	test_assert(error != NULL && strstr(error, path) != NULL);
	test_assert(stat(path, &st) == 0 && st.st_size == 30);
	i_unlink(path);
	test_assert(webpush_key_load("/nonexistent/key", TRUE, &key,
				     &error) < 0);
	test_end();
}

int main(void)
{
	static void (*const test_functions[])(void) = {
		test_webpush_encrypt,
		test_webpush_key_file,
		NULL
	};
	return test_run(test_functions);
}
