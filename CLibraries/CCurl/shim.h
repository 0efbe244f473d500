#include <curl/curl.h>
#include <string.h>

// Swift cannot call functions with a variable number of arguments; each of these is one use of them, with its type.
static inline CURLcode curl_set_text(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode curl_set_number(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode curl_set_list(CURL *handle, CURLoption option, struct curl_slist *value) {
    return curl_easy_setopt(handle, option, value);
}

static inline long curl_response_code(CURL *handle) {
    long code = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

// Bytes that are sent, in pieces as large as libcurl likes.
struct curl_source {
    const char *bytes;
    size_t left;
};

static size_t curl_source_read(char *buffer, size_t size, size_t count, void *context) {
    struct curl_source *source = (struct curl_source *)context;
    size_t taken = size * count < source->left ? size * count : source->left;
    memcpy(buffer, source->bytes, taken);
    source->bytes += taken;
    source->left -= taken;
    return taken;
}

static inline CURLcode curl_set_source(CURL *handle, struct curl_source *source) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_READFUNCTION, curl_source_read);
    return code != CURLE_OK ? code : curl_easy_setopt(handle, CURLOPT_READDATA, source);
}
