"""Uses the page of `vitraux serve` in headless Chromium. Arguments: the server's URL, an image file of a 3, a folder for a screenshot."""

import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

url, image, folder = sys.argv[1:]
options = webdriver.ChromeOptions()
for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=480,900"]:
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
try:
    driver.get(url)
    wait = WebDriverWait(driver, 30)
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#model option"))
    assert driver.find_element(By.ID, "model").get_attribute("value") == "digits"
    driver.find_element(By.ID, "file").send_keys(image)
    rows = wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#answer li"))
    assert len(rows) == 5 and rows[0].text.split() == ["3", "96.7", "%"], [row.text for row in rows]
    assert driver.find_element(By.ID, "status").text.endswith(" ms")
    driver.save_screenshot(f"{folder}/page.png")
    # A file that is no image has a message instead.
    driver.find_element(By.ID, "file").send_keys(__file__)
    wait.until(lambda driver: "not an image" in driver.find_element(By.ID, "status").text)
    assert not driver.find_elements(By.CSS_SELECTOR, "#answer li")
    time.sleep(0.2)
    # Among these would be what the page's policy forbids; refused images are failed requests.
    messages = [entry["message"] for entry in driver.get_log("browser") if "status of 422" not in entry["message"]]
    assert not messages, messages
    print("Chromium: the page shows answers")
finally:
    driver.quit()
