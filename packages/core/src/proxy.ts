import { getProxyForUrl } from 'proxy-from-env';

/**
 * The proxy for `url` as the environment names it (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, upper or lower case).
 *
 * @throws {TypeError} when the environment holds no URL there
 */
export function proxyFor(url: string): URL | undefined {
  const proxy = getProxyForUrl(url);
  return proxy === '' ? undefined : new URL(proxy);
}
