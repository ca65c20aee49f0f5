/* SPDX-License-Identifier: LGPL-2.1-only */
/* MM7's messages. What becomes of one by the MMSC's status (23.140, 8.7.8.3.2):

     1000, 1100                     sent (there is one receiver)
     2002, 2004, 2007, 3002 to      given up: this receiver or this message
     3004, 4004
     2003                           the number isn't there any more: unregistered
     2000, 3000, 3001, 4000,        not now
     4005, 4006, others
     2001, 4001 to 4003, 4007,      not this service, until it is mended
     4008

   Where the answer has no status HTTP's decides. */

#include "lib.h"
#include "hex-binary.h"
#include "sha2.h"
#include "str.h"
#include "pimap-text.h"
#include "outband-mm7.h"

#include <libxml/parser.h>
#include <libxml/xmlwriter.h>

#define SOAP_NS "http://schemas.xmlsoap.org/soap/envelope/"
#define MM7_NS "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/" \
	"schema/REL-6-MM7-1-4"
#define MM7_VERSION "6.8.0"

/* what an answer ends with */
#define MM7_END "Envelope>"
#define MM7_MAX_TEXT 128
/* elements within each other, of an answer */
#define MM7_MAX_DEPTH 16

static void mm7_start(xmlTextWriterPtr xml, const char *name)
{
	if (xmlTextWriterStartElement(xml, BAD_CAST name) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
}

static void mm7_end(xmlTextWriterPtr xml)
{
	if (xmlTextWriterEndElement(xml) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
}

static void
mm7_attribute(xmlTextWriterPtr xml, const char *name, const char *value)
{
	if (xmlTextWriterWriteAttribute(xml, BAD_CAST name,
					BAD_CAST value) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
}

static void
mm7_element(xmlTextWriterPtr xml, const char *name, const char *value)
{
	if (value[0] != '\0' &&
	    xmlTextWriterWriteElement(xml, BAD_CAST name, BAD_CAST value) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
}

static void
mm7_write_submit(xmlTextWriterPtr xml, const struct outband_mm7_sender *sender,
		 const struct outband_mm7_message *msg)
{
	mm7_start(xml, "SubmitReq");
	mm7_attribute(xml, "xmlns", MM7_NS);
	mm7_element(xml, "MM7Version", MM7_VERSION);

	mm7_start(xml, "SenderIdentification");
	mm7_element(xml, "VASPID", sender->vasp_id);
	mm7_element(xml, "VASID", sender->vas_id);
	if (sender->number[0] != '\0') {
		mm7_start(xml, "SenderAddress");
		mm7_element(xml, "Number", sender->number);
		mm7_end(xml);
	}
	mm7_end(xml);

	mm7_start(xml, "Recipients");
	mm7_start(xml, "To");
	mm7_element(xml, "Number", msg->to);
	mm7_end(xml);
	mm7_end(xml);

	mm7_element(xml, "MessageClass", "Auto");
	mm7_element(xml, "DeliveryReport", "false");
	mm7_element(xml, "ReadReply", "false");
	mm7_start(xml, "Content");
	mm7_attribute(xml, "href", "cid:notification");
	mm7_attribute(xml, "allowAdaptations", "false");
	mm7_end(xml);
	mm7_end(xml);
}

static void
mm7_append_envelope(string_t *dest, const struct outband_mm7_sender *sender,
		    const struct outband_mm7_message *msg)
{
	xmlBufferPtr buf = xmlBufferCreate();
	xmlTextWriterPtr xml = buf == NULL ? NULL : xmlNewTextWriterMemory(buf, 0);

	if (xml == NULL ||
	    xmlTextWriterStartDocument(xml, NULL, "UTF-8", NULL) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
	mm7_start(xml, "env:Envelope");
	mm7_attribute(xml, "xmlns:env", SOAP_NS);
	mm7_start(xml, "env:Header");
	mm7_start(xml, "TransactionID");
	mm7_attribute(xml, "xmlns", MM7_NS);
	mm7_attribute(xml, "env:mustUnderstand", "1");
	if (xmlTextWriterWriteString(xml, BAD_CAST msg->transaction) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
	mm7_end(xml);
	mm7_end(xml);
	mm7_start(xml, "env:Body");
	mm7_write_submit(xml, sender, msg);
	if (xmlTextWriterEndDocument(xml) < 0)
		i_fatal_status(FATAL_OUTOFMEM, "mm7: out of memory");
	xmlFreeTextWriter(xml);
	str_append_data(dest, xmlBufferContent(buf), xmlBufferLength(buf));
	xmlBufferFree(buf);
}

const char *outband_mm7_submit(string_t *dest,
			       const struct outband_mm7_sender *sender,
			       const struct outband_mm7_message *msg)
{
	unsigned char digest[SHA256_RESULTLEN];
	const char *boundary;

	/* What is in the text can't be known before. A repeated request is the
	   same. */
	sha256_get_digest(msg->text, strlen(msg->text), digest);
	boundary = t_strconcat("=_", binary_to_hex(digest, 16), NULL);

	str_printfa(dest, "--%s\r\nContent-Type: text/xml; charset=utf-8\r\n"
		    "Content-ID: <submit>\r\n\r\n", boundary);
	mm7_append_envelope(dest, sender, msg);
	str_printfa(dest, "\r\n--%s\r\nContent-Type: %s; charset=utf-8\r\n"
		    "Content-Transfer-Encoding: 8bit\r\n"
		    "Content-ID: <notification>\r\n\r\n%s\r\n--%s--\r\n",
		    boundary, msg->type, msg->text, boundary);
	return t_strdup_printf("multipart/related; type=\"text/xml\"; "
		"start=\"<submit>\"; boundary=\"%s\"", boundary);
}

static xmlNodePtr
mm7_find(xmlNodePtr node, const char *name, unsigned int depth)
{
	xmlNodePtr found;

	for (; node != NULL; node = node->next) {
		if (node->type != XML_ELEMENT_NODE)
			continue;
		if (strcmp((const char *)node->name, name) == 0)
			return node;
		if (depth > 0) {
			found = mm7_find(node->children, name, depth - 1);
			if (found != NULL)
				return found;
		}
	}
	return NULL;
}

static const char *mm7_get_text(xmlNodePtr node, const char *name)
{
	const char *text = "";
	xmlChar *content;

	node = mm7_find(node, name, MM7_MAX_DEPTH);
	content = node == NULL ? NULL : xmlNodeGetContent(node);
	if (content != NULL) {
		text = pimap_text_get_reply(t_str_trim((const char *)content,
						       " \t\r\n"),
					    MM7_MAX_TEXT);
		xmlFree(content);
	}
	return text;
}

/* Returns the status and what is said of it, or 0. */
static unsigned int mm7_parse(const string_t *answer, const char **text_r)
{
	const char *data = str_c((string_t *)answer), *begin, *end = NULL, *p;
	unsigned int status = 0;
	xmlNodePtr root;
	xmlDocPtr doc;

	/* it may be the first part of a multipart */
	begin = strstr(data, "<?xml");
	if (begin == NULL)
		begin = strchr(data, '<');
	*text_r = "";
	if (begin == NULL)
		return 0;
	while ((p = strstr(end == NULL ? begin : end, MM7_END)) != NULL)
		end = p + strlen(MM7_END);
	/* no entities of its own, nothing from elsewhere */
	if (end == NULL || strstr(begin, "<!DOCTYPE") != NULL)
		return 0;
	doc = xmlReadMemory(begin, end - begin, NULL, NULL,
			    XML_PARSE_NONET | XML_PARSE_NOERROR |
			    XML_PARSE_NOWARNING);
	if (doc == NULL)
		return 0;
	root = xmlDocGetRootElement(doc);
	if (str_to_uint(mm7_get_text(root, "StatusCode"), &status) < 0)
		status = 0;
	*text_r = mm7_get_text(root, status != 0 ? "StatusText" : "faultstring");
	xmlFreeDoc(doc);
	return status;
}

static enum outband_channel_outcome
mm7_get_outcome(unsigned int status, bool *fault_r)
{
	*fault_r = FALSE;
	switch (status) {
	case 1000:
	case 1100:
		return OUTBAND_CHANNEL_SENT;
	case 2003:
		return OUTBAND_CHANNEL_UNREGISTER;
	case 2002:
	case 2004:
	case 2007:
	case 3002:
	case 3003:
	case 3004:
	case 4004:
		return OUTBAND_CHANNEL_GIVE_UP;
	default:
		*fault_r = TRUE;
		return OUTBAND_CHANNEL_RETRY;
	}
}

void outband_mm7_judge(unsigned int status, const string_t *answer,
		       struct outband_channel_result *result_r)
{
	const char *text;
	unsigned int mm7 = mm7_parse(answer, &text);

	if (mm7 != 0) {
		result_r->outcome = mm7_get_outcome(mm7, &result_r->fault);
	} else if (status == 413) {
		result_r->outcome = OUTBAND_CHANNEL_GIVE_UP;
	} else {
		/* that it has accepted the message is not known */
		result_r->outcome = OUTBAND_CHANNEL_RETRY;
		result_r->fault = TRUE;
	}
	if (mm7 != 0) {
		result_r->error = t_strdup_printf("The MMSC's answer is %u: %s",
						  mm7, text);
	} else if (*text != '\0' || status / 100 == 2) {
		result_r->error = t_strdup_printf("The MMSC's answer is no "
			"status (HTTP %u): %s", status, text);
	}
}
